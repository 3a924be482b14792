"""Every part of the conformance suite, against the reference in float64."""

from fwcompare.testing import conformance

test_conformance = conformance("jax", slow=("optimizers", "export"))
