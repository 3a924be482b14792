"""The statistics of a comparison: pure functions over numbers, knowing neither runs nor files.

Each module holds one method and names its source. What they are used for, and why they may be
believed, stands in ``docs/method.md``; ``benchmarks/simulations.py`` tries them by simulation.
"""
