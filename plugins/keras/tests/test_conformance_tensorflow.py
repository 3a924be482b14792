"""Every part of the conformance suite, against the reference in float64."""

from fwcompare.testing import conformance

test_conformance = conformance("keras_tensorflow", slow=("layers", "optimizers", "export"))
