"""The two-stage cascade: one view first, all views only where that is not enough.

Stage 1 reads the global view through the backbone and a linear head of its own; stage 2 reads the
global view and all tiles through the classifier's head. :mod:`~roadwork.cascade.stages` is the
network, :mod:`~roadwork.cascade.losses` what trains it, :mod:`~roadwork.cascade.policy` the exits
and their promise, :mod:`~roadwork.cascade.fitted` the only door through which exits are fitted,
:mod:`~roadwork.cascade.simulate` and :mod:`~roadwork.cascade.confidence` what a cascade is worth.
"""
