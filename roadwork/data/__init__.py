"""Data: sources, manifest, splits, exposure, validation, views and loading."""
