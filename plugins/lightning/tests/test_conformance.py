"""Every part of the conformance suite, against the reference in float64."""

from fwcompare.testing import conformance

#: Its layers and optimizers are those of PyTorch's engine.
test_conformance = conformance("lightning", slow=("layers", "optimizers", "export"))
