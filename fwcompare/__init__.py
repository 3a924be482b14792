"""fwcompare: one declared experiment, run natively in each framework, and compared."""

__version__ = "0.1.0"
