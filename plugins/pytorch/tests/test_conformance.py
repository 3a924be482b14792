"""What the engine that others are held against must do by itself: its probe, dropout and front."""

from fwcompare.testing import conformance

test_conformance = conformance("pytorch")
