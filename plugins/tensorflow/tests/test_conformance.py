"""Every part of the conformance suite, against the reference in float64."""

from fwcompare.testing import conformance

#: Its layers and optimizers are those of keras_tensorflow.
test_conformance = conformance("tensorflow", slow=("layers", "optimizers", "export"))
