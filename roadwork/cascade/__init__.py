"""The two-stage cascade: one view first, all views only where that is not enough.

Stage 1 reads the global view through the backbone and a linear head of its own; stage 2 reads the
global view and all tiles through the classifier's head. :mod:`~roadwork.cascade.stages` is the
network, :mod:`~roadwork.cascade.losses` what trains it, :mod:`~roadwork.cascade.train` the training
and :mod:`~roadwork.cascade.selection` the choice between its passes;
:mod:`~roadwork.cascade.policy` the exits and their promise, :mod:`~roadwork.cascade.fitted` the
only door through which exits are fitted, :mod:`~roadwork.cascade.certified` all that a service
needs; :mod:`~roadwork.cascade.simulate` and :mod:`~roadwork.cascade.confidence` what a cascade is
worth, :mod:`~roadwork.cascade.judge` its day on the test set and :mod:`~roadwork.cascade.page` the
report of it.
"""
