"""Every layer kind, optimizer and schedule of the product, against the reference in float64."""

from fwcompare.testing import conformance

test_conformance = conformance("tensorflow")
