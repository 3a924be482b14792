"""fwcompare: one declared experiment, run natively in every deep-learning framework, and compared."""

__version__ = "0.1.0"
