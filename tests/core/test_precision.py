"""Precision as an axis: its types, its keys, and what a proof says of it."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare.compare import Run, Standing, compare
from fwcompare.config import Parity
from fwcompare.errors import RequestError
from fwcompare.parity.prove import _key, for_proof
from fwcompare.record import RunRecord
from fwcompare.spec import DEVICES, PRECISIONS, Device
from fwcompare.testing import make_run, optimizer, small_data

OUT = [{"name": "out", "kind": "dense", "units": 2}]


@pytest.fixture
def spec(tmp_path):
    data = small_data(tmp_path / "data", (3,), 2)
    return make_run(tmp_path, "pytorch", OUT, data, optimizer=optimizer("sgd"))[0]


@pytest.mark.parametrize(
    ("precision", "dtype", "compute_type", "mixed"),
    [
        ("float32", np.float32, "float32", False),
        ("float64", np.float64, "float64", False),
        ("mixed_bfloat16", np.float32, "bfloat16", True),
        ("mixed_float16", np.float32, "float16", True),
    ],
)
def test_a_precision_names_two_types(spec, precision, dtype, compute_type, mixed):
    found = spec.but(precision=precision)
    assert (found.dtype, found.compute_type, found.mixed) == (dtype, compute_type, mixed)


def test_precision_is_part_of_the_arm_and_not_of_the_mathematics(spec):
    specs = [spec.but(precision=precision) for precision in PRECISIONS]
    assert len({found.group for found in specs}) == 1
    assert len({found.arm for found in specs}) == len({found.cell for found in specs}) == 4


def test_what_is_proven_of_a_mixed_run_is_its_mathematics(spec):
    for precision, remark in (("float32", ""), ("mixed_bfloat16", "mixed_bfloat16")):
        asked = spec.but(precision=precision)
        proven = {(asked.group, "pytorch", "native", "cpu"): Standing("proven")}
        run = Run("pytorch", 0, RunRecord("r", "ok", "", 1, 2), asked)
        (comparison,) = compare([run], standings=proven)
        (row,) = comparison.rows
        assert row.standing.state == "proven"
        assert remark in row.standing.reason and bool(remark) == bool(row.standing.reason)


def test_what_is_proven_on_one_kind_of_device_says_nothing_of_another(spec):
    states = {}
    for name in DEVICES:
        asked = spec.but(device=Device(name, 1))
        proven = {(asked.group, "pytorch", "native", "cpu"): Standing("proven")}
        run = Run("pytorch", 0, RunRecord("r", "ok", "", 1, 2), asked)
        (comparison,) = compare([run], standings=proven)
        states[name] = comparison.rows[0].standing.state
    assert states == {"cpu": "proven", "cuda": "unproven"}
    specs = [spec.but(device=Device(name, 1)) for name in DEVICES]
    assert len({_key(base, ["pytorch"], "pytorch", "float64") for base in specs}) == len(DEVICES)


def test_a_proof_of_a_mixed_run_is_in_a_whole_precision(spec):
    base, _ = for_proof(spec.but(precision="mixed_float16"), "float64", 3)
    assert base.dtype == np.float64
    with pytest.raises(RequestError, match="mixed_float16"):
        Parity("pytorch", "mixed_float16", 10, True)
