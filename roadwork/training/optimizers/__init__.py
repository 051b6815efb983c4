"""Optimizers beyond AdamW."""
