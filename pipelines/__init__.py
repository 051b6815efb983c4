"""Pipelines: typed steps in their order."""
