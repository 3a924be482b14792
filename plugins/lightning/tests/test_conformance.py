"""Every part of the conformance suite, against the reference in float64."""

from fwcompare.testing import conformance

#: Its layers are PyTorch's engine's.
test_conformance = conformance("lightning", slow=("layers", "export"))
