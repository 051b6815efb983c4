"""Thin ZenML steps: each unpacks its inputs, calls the library, logs metadata and returns."""
