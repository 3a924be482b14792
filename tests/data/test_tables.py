"""Tables: columns to numbers, what is learned from the training split, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fwcompare.data.batches import SPLITS, DataFolder
from fwcompare.data.prepare import prepare
from fwcompare.errors import RequestError

PARAMS: dict[str, Any] = {
    "target": "kind",
    "columns": None,
    "categorical": [],
    "task": "classification",
    "missing": "refuse",
    "unseen": "zeros",
    "val_fraction": 0.1,
    "test_fraction": 0.2,
    "normalize": "none",
    "split_seed": 3,
}


def frame(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "width": random.normal(5, 2, rows),
            "legs": random.integers(0, 9, rows),
            "tame": random.integers(0, 2, rows).astype(bool),
            "colour": random.choice(["red", "green", "blue"], rows),
            "kind": random.choice(["cat", "ant", "dog"], rows),
        }
    )


def prepared(folder: Path, table: pd.DataFrame, name: str = "csv", **options: Any) -> DataFolder:
    path = folder / f"table.{name}"
    if name == "csv":
        table.to_csv(path, index=False)
        options = {"separator": ",", **options}
    else:
        table.to_parquet(path)
    return prepare(name, {**PARAMS, "file": str(path), **options}, 0, folder / "cache")


def whole(found: DataFolder) -> tuple[np.ndarray, np.ndarray]:
    """All samples, sorted by their first number."""
    splits = [found.split(name, np.dtype("float32")) for name in SPLITS]
    inputs = np.concatenate([split.inputs for split in splits])
    order = np.argsort(inputs[:, 0])
    return inputs[order], np.concatenate([split.targets for split in splits])[order]


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_columns_become_numbers_and_classes_keep_their_names(tmp_path: Path, name: str) -> None:
    table = frame().sort_values("width", ignore_index=True)
    found = prepared(tmp_path, table, name, categorical=["colour"])
    names = ["width", "legs", "tame", "colour=blue", "colour=green", "colour=red"]
    assert found.meta["features"] == names
    assert found.meta["classes"] == ["ant", "cat", "dog"]
    assert found.meta["sizes"] == {"train": 42, "val": 6, "test": 12}
    inputs, targets = whole(found)
    expected = table[["width", "legs", "tame"]].to_numpy(np.float32)
    np.testing.assert_array_equal(inputs[:, :3], expected)
    for place, colour in enumerate(("blue", "green", "red"), 3):
        np.testing.assert_array_equal(inputs[:, place], table["colour"] == colour)
    np.testing.assert_array_equal(np.array(["ant", "cat", "dog"])[targets], table["kind"])


def test_both_formats_give_the_same_arrays(tmp_path: Path) -> None:
    digests = {
        prepared(tmp_path, frame(), name, categorical=["colour"]).meta["digest"]
        for name in ("csv", "parquet")
    }
    assert len(digests) == 1


def test_only_the_columns_that_are_named_are_used(tmp_path: Path) -> None:
    found = prepared(tmp_path, frame(), columns=["legs", "width"])
    assert found.meta["features"] == ["legs", "width"]
    chosen = prepared(tmp_path, frame(), "parquet", columns=["legs", "width"])
    assert chosen.meta["digest"] == found.meta["digest"]


def test_values_to_predict(tmp_path: Path) -> None:
    table = frame().drop(columns=["colour", "kind"])
    found = prepared(tmp_path, table, target="width", task="regression")
    assert found.meta["kind"] == "regression"
    train = found.split("train", np.dtype("float32")).targets
    assert train.mean() == pytest.approx(0, abs=1e-5)


def test_numbers_may_be_classes_and_categories(tmp_path: Path) -> None:
    table = frame().assign(kind=lambda t: 10 * (t.legs % 3), place=lambda t: t.legs + 100)
    found = prepared(tmp_path, table, categorical=["colour", "place"])
    assert found.meta["classes"] == ["0", "10", "20"]
    assert "place=103" in found.meta["features"]


def with_gaps(rows: int = 60) -> pd.DataFrame:
    table = frame(rows)
    table.loc[[3, 7, 50], "width"] = np.nan
    table.loc[[7, 20], "colour"] = None
    return table


def test_missing_values_are_told_with_their_columns(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        prepared(tmp_path, with_gaps(), categorical=["colour"])
    assert "(of 60 rows): width 3, colour 2" in caught.value.message
    assert "missing=drop" in (caught.value.hint or "")
    assert not list((tmp_path / "cache" / "datasets").glob("csv-*"))


def test_a_gap_in_a_column_that_is_not_used_is_none(tmp_path: Path) -> None:
    prepared(tmp_path, with_gaps(), columns=["legs"])


def test_rows_with_gaps_are_dropped(tmp_path: Path) -> None:
    found = prepared(tmp_path, with_gaps(), categorical=["colour"], missing="drop")
    assert sum(found.meta["sizes"].values()) == 56


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_the_mean_that_fills_is_that_of_the_training_split(tmp_path: Path, name: str) -> None:
    table = with_gaps()
    table["row"] = np.arange(60)
    found = prepared(tmp_path, table, name, categorical=["colour"], missing="mean",
                     columns=["row", "width", "colour"])  # fmt: skip
    train = found.split("train", np.dtype("float32")).inputs[:, 0].astype(int)
    inputs, _ = whole(found)
    mean = table["width"][sorted(train)].mean()
    np.testing.assert_allclose(inputs[[3, 7, 50], 1], mean, rtol=1e-6)
    none = found.meta["features"].index("colour=(none)") if set(train) & {7, 20} else None
    if none is not None:
        np.testing.assert_array_equal(inputs[[7, 20], none], 1)


def test_an_unseen_category_is_zeros_or_refused(tmp_path: Path) -> None:
    table = frame()
    table["row"] = np.arange(60)
    options: dict[str, Any] = {"columns": ["row", "colour"], "categorical": ["colour"]}
    seen = prepared(tmp_path, table, **options).split("test", np.dtype("float32"))
    row = int(seen.inputs[0, 0])  # a row of the test split
    table.loc[row, "colour"] = "pink"
    found = prepared(tmp_path, table, **options)
    assert [name for name in found.meta["features"] if "pink" in name] == []
    inputs, _ = whole(found)
    np.testing.assert_array_equal(inputs[row, 1:], 0)
    with pytest.raises(RequestError, match=rf"category 'pink' \(row {row + 1}\)"):
        prepared(tmp_path, table, unseen="refuse", **options)


def spoilt(column: str, row: int, value: object) -> pd.DataFrame:
    table = frame()
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (frame(), {}, "Column 'colour' must hold numbers, row 1 has 'red' .60 of 60 rows"),
        (spoilt("legs", 16, "six"), {"columns": ["legs"]}, "'legs' .* row 17 has 'six' .1 of 60"),
        (frame(), {"task": "regression"}, "The target 'kind' must hold numbers, row 1"),
        (frame(), {"target": "width"}, "which is no class"),
        (frame(), {"target": "king"}, "Unknown column of table.csv 'king'"),
        (frame(), {"columns": ["leg"]}, "Unknown column of table.csv 'leg'"),
        (frame(), {"columns": ["legs", "kind"]}, "columns holds 'kind', which is the target"),
        (frame(), {"columns": ["legs", "legs"]}, "columns holds 'legs' twice"),
        (frame(), {"columns": ["legs"], "categorical": ["colour"]}, "not among the columns"),
        (frame().assign(kind="ant"), {"columns": ["legs"]}, "one class only: every row has 'ant'"),
        (frame(0), {}, "holds no row"),
        (spoilt("kind", 1, None), {"columns": ["legs"], "missing": "mean"}, "is no answer"),
        (frame().assign(legs=np.nan), {"missing": "drop"}, "every row has a missing value"),
        (spoilt("width", 2, np.inf), {"columns": ["width"]}, "1 NaN or infinite"),
        (frame(), {"missing": "guess"}, "Unknown dataset.params.missing 'guess'"),
        (frame(4), {"columns": ["legs"]}, "of 4 samples leaves the val split empty"),
        (frame()[["kind"]], {}, "no column but the target"),
        (frame(), {"target": None}, "target must be the name of a column"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    tmp_path: Path, table: pd.DataFrame, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        prepared(tmp_path, table, **options)
    assert not list((tmp_path / "cache").glob("datasets/csv-*"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as CSV"),
        (b"a,kind\n1,x\n2,y,z,w\n", "cannot be read as CSV: .*line 3"),
        (b"a,kind\n1,\xff\n", "no text in UTF-8"),
        (b"a,a,kind\n1,2,x\n", "more than one column 'a'"),
        (b"a;kind\n1;x\n", "Unknown column of table.csv 'kind'"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    params = {**PARAMS, "file": str(path), "separator": ","}
    with pytest.raises(RequestError, match=said) as caught:
        prepare("csv", params, 0, tmp_path / "cache")
    assert "table.csv" in caught.value.message
    broken = tmp_path / "table.parquet"
    broken.write_bytes(b"PAR1" + content)
    with pytest.raises(RequestError, match=r"table\.parquet cannot be read as Parquet"):
        prepare("parquet", {**PARAMS, "file": str(broken)}, 0, tmp_path / "cache")
