"""Ablations: one grid of settings, trained cell by cell, compared image by image.

A grid (:mod:`~roadwork.ablation.grid`) is expanded into variants before anything runs. A cell
(:mod:`~roadwork.ablation.cell`) trains one variant with one seed and scores VAL_SELECT, or one fold
of a grouped cross-validation (:mod:`~roadwork.ablation.folds`). The table
(:mod:`~roadwork.ablation.table`) compares every variant with the baseline on the same resampled
groups. No part of this package takes a calibration, conformal or test set.
"""
