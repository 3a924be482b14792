"""The conformance suite: what every engine must do, tried on small experiments.

``suite`` lists the checks and runs them from the parent; ``checks`` and what it imports run in the
worker, with NumPy and the one framework alone.
"""
