"""Arrays, splits, and the batch order of every epoch, from the seed.

``batches`` is what the worker needs; ``sources`` and ``prepare`` run in the parent.
"""
