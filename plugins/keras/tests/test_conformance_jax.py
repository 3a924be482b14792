"""Every part of the conformance suite, against the reference in float64."""

from fwcompare.testing import conformance

#: Its layers are those of keras_tensorflow.
test_conformance = conformance("keras_jax", slow=("layers", "optimizers", "export"))
