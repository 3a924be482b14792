"""A table with named columns, from a CSV or a Parquet file, as numbers.

What is learned from values (the categories of a column, the mean that fills a gap) is learned from
the training split alone, so the rows are dealt out to the splits here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fwcompare.data.batches import SPLITS
from fwcompare.data.raw import Raw, Split
from fwcompare.data.source import Unsplit, one_of, require
from fwcompare.errors import RequestError, choices, unknown
from fwcompare.limits import user_path

if TYPE_CHECKING:
    import pandas as pd

    from fwcompare.data.download import Downloads

TASKS = ("classification", "regression")
MISSING = ("refuse", "drop", "mean")
UNSEEN = ("zeros", "refuse")

#: The category of a missing value, where ``missing=mean`` fills it in.
NONE_GIVEN = "(none)"


class Column(Protocol):
    """One column of the table as one or more numbers for each row."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers."""

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """Shape (len(rows), len(names)), float64."""


@dataclass(frozen=True)
class Numbers:
    """A column of numbers, gaps filled."""

    names: tuple[str, ...]
    values: np.ndarray

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        taken: np.ndarray = self.values[rows]
        return taken[:, np.newaxis]


@dataclass(frozen=True)
class Categories:
    """A column of words as a 1 in the place of its category; all 0 where training had none such."""

    names: tuple[str, ...]
    #: The place of each row's category, -1 for none.
    places: np.ndarray

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.places[rows][:, np.newaxis] == np.arange(len(self.names))
        return found.astype(np.float64)


@dataclass(frozen=True)
class Encoded:
    """Chosen rows of the table as numbers, made when they are asked for."""

    columns: Sequence[Column]
    chosen: np.ndarray

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.chosen), sum(len(column.names) for column in self.columns))

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        rows = self.chosen[ids]
        return np.concatenate([column.numbers(rows) for column in self.columns], axis=1)


@dataclass(frozen=True)
class Table(Unsplit):
    """What CSV and Parquet share."""

    #: The path of the file.
    file: str | None
    #: The column that is to be predicted.
    target: str | None
    #: The columns to predict it from; None: all others.
    columns: tuple[str, ...] | None
    #: Those of them that hold categories, each a number of its own (one-hot); all others must hold
    #: numbers.
    categorical: tuple[str, ...]
    task: str
    #: What is done about missing values: refuse them, drop their rows, or fill in the mean of the
    #: training split (a category of their own where the column is categorical).
    missing: str
    #: A category that the training split does not have: zeros in all places, or refuse it.
    unseen: str

    def check(self) -> None:
        super().check()
        require(self.file is not None, "file", self.file, "the path of a table")
        require(self.target is not None, "target", self.target, "the name of a column")
        one_of("task", self.task, TASKS)
        one_of("missing", self.missing, MISSING)
        one_of("unseen", self.unseen, UNSEEN)
        if self.columns is not None:
            require(bool(self.columns), "columns", self.columns, "null or at least one name")
        for option in ("columns", "categorical"):
            names = getattr(self, option) or ()
            if self.target in names:
                raise RequestError(
                    f"dataset.params.{option} holds '{self.target}', which is the target."
                )
            if twice := [name for name in names if names.count(name) > 1]:
                raise RequestError(f"dataset.params.{option} holds '{twice[0]}' twice.")

    @property
    def _path(self) -> Path:
        return user_path(str(self.file)).absolute()

    def files(self) -> list[Path]:
        if not self._path.is_file():
            raise RequestError(
                f"There is no file {self._path}.", "Give dataset.params.file the path of a table."
            )
        return [self._path]

    def read(self) -> pd.DataFrame:
        """The whole table. Raises ``RequestError`` if the file holds none."""
        raise NotImplementedError

    def load(self, downloads: Downloads) -> Raw:
        table = self.read().reset_index(drop=True)
        names = self._chosen(list(map(str, table.columns)))
        table = self._without_gaps(table[[*names, str(self.target)]])
        target, classes = self._targets(table)
        dealt = self.deal(len(table))
        columns = [self._column(table[name], dealt) for name in names]
        return Raw(
            kind=self.task,
            parts={
                part: Split(Encoded(columns, dealt[part]), target[dealt[part]])
                for part in SPLITS
                if len(dealt[part])
            },
            outputs=len(classes) if classes else None,
            classes=classes,
            features=tuple(name for column in columns for name in column.names),
            source=self._path.name,
            licence="not stated",
        )

    def _chosen(self, present: Sequence[str]) -> list[str]:
        """The columns to predict from, all of which are there."""
        if twice := [name for name in present if present.count(name) > 1]:
            raise RequestError(f"{self._path} has more than one column '{twice[0]}'.")
        for name in (str(self.target), *(self.columns or ()), *self.categorical):
            if name not in present:
                raise unknown(f"column of {self._path.name}", name, present)
        names = [n for n in self.columns or present if n != self.target]
        if left := [name for name in self.categorical if name not in names]:
            raise RequestError(
                f"dataset.params.categorical holds '{left[0]}', which is not among the columns to "
                "predict from.",
                f"Those are: {choices(names)}.",
            )
        if not names:
            raise RequestError(f"{self._path} has no column but the target '{self.target}'.")
        return names

    def _without_gaps(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows that are used. Raises ``RequestError`` for missing values not provided for."""
        if not len(table):
            raise RequestError(f"{self._path} holds no row.")
        counts = table.isna().sum()
        counts = counts[counts > 0]
        if not len(counts):
            return table
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        if self.missing == "refuse":
            raise RequestError(
                f"{self._path} has missing values (of {len(table)} rows): {shown}.",
                "Say what to do: dataset.params.missing=drop leaves those rows out, missing=mean "
                "fills in the mean of the training split.",
            )
        if self.missing == "mean":
            if self.target in counts:
                raise RequestError(
                    f"{self._path}: the target '{self.target}' is missing in "
                    f"{counts[self.target]} rows; a mean is no answer to learn from.",
                    "Choose dataset.params.missing=drop.",
                )
            return table
        kept = table.dropna()
        if not len(kept):
            raise RequestError(
                f"{self._path}: every row has a missing value ({shown}).",
                "Leave these columns out (dataset.params.columns), or choose missing=mean.",
            )
        return kept

    def _targets(self, table: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...] | None]:
        """Values, or labels with the names of their classes, sorted."""
        column = table[str(self.target)]
        if self.task == "regression":
            return self._numeric(column, "The target"), None
        if column.dtype.kind == "f" and (odd := column[column % 1 != 0]).size:
            raise RequestError(
                f"The target '{self.target}' holds {odd.iloc[0]:g}, which is no class.",
                "For values to predict, choose dataset.params.task=regression task=regression.",
            )
        if column.dtype.kind == "f":
            column = column.astype(np.int64)
        found, labels = np.unique(_plain(column), return_inverse=True)
        if len(found) < 2:
            raise RequestError(
                f"The target '{self.target}' has one class only: every row has {found[0]!r}."
            )
        return labels.astype(np.int32), tuple(map(str, found))

    def _column(self, column: pd.Series[Any], dealt: Mapping[str, np.ndarray]) -> Column:
        name, train = str(column.name), dealt["train"]
        if name not in self.categorical:
            values = self._numeric(column, "Column")
            gaps = np.isnan(values) & column.isna().to_numpy()
            if gaps.any():
                known = values[train][~gaps[train]]
                if not len(known):
                    raise RequestError(
                        f"Column '{name}' has no value in the training split to take a mean of.",
                        "Leave it out: dataset.params.columns=[...].",
                    )
                values = np.where(gaps, known.mean(), values)
            return Numbers((name,), values)
        words = np.where(column.isna(), NONE_GIVEN, _plain(column).astype(str).astype(object))
        categories = np.unique(words[train].astype(str))
        places = np.searchsorted(categories, words.astype(str))
        places = np.where(
            categories[np.minimum(places, len(categories) - 1)] == words.astype(str), places, -1
        )
        if self.unseen == "refuse" and (places < 0).any():
            row = int(np.argmin(places))
            raise RequestError(
                f"Column '{name}' has the category {words[row]!r} (row {column.index[row] + 1}), "
                "which the training split has not.",
                "dataset.params.unseen=zeros leaves all its places at 0.",
            )
        return Categories(tuple(f"{name}={category}" for category in categories), places)

    def _numeric(self, column: pd.Series[Any], what: str) -> np.ndarray:
        """The numbers of a column, float64, NaN where one is missing.

        Raises:
            RequestError: it holds something else, with the first row that does.
        """
        import pandas as pd

        if column.dtype.kind in "biuf":
            values: np.ndarray = column.to_numpy(np.float64, na_value=np.nan)
            return values
        words = pd.Series(_plain(column), dtype=object)
        numbers = pd.to_numeric(words, errors="coerce")
        bad = np.flatnonzero((numbers.isna() & ~column.isna().to_numpy()).to_numpy())
        if not len(bad) and column.dtype.kind not in "mM":
            parsed: np.ndarray = numbers.to_numpy(np.float64)
            return parsed
        row = int(bad[0]) if len(bad) else 0
        hint = "For classes to tell apart, choose dataset.params.task=classification."
        if what == "Column":
            listed = ",".join([*self.categorical, str(column.name)])
            hint = (
                f"If it holds categories, say so: 'dataset.params.categorical=[{listed}]'. "
                "Otherwise leave it out by naming the others in dataset.params.columns."
            )
        raise RequestError(
            f"{what} '{column.name}' must hold numbers, row {column.index[row] + 1} has "
            f"{str(words.iloc[row])[:60]!r} ({len(bad) or len(words)} of {len(words)} rows hold no "
            "number).",
            hint,
        )


def _plain(column: pd.Series[Any]) -> np.ndarray:
    """The values as NumPy has them: those of a dictionary, of text or of numbers."""
    values: np.ndarray = np.asarray(column)
    return values if values.dtype.kind in "biuf" else values.astype(object)


@dataclass(frozen=True)
class Csv(Table):
    """A CSV file with a header."""

    name = "csv"

    #: What stands between two values.
    separator: str

    def check(self) -> None:
        super().check()
        require(len(self.separator) == 1, "separator", self.separator, "one character")

    def read(self) -> pd.DataFrame:
        import pandas as pd

        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                header = next(csv.reader(file, delimiter=self.separator), [])
            if twice := [name for name in header if header.count(name) > 1]:
                raise RequestError(f"{self._path} has more than one column '{twice[0]}'.")
            return pd.read_csv(
                self._path, sep=self.separator, encoding="utf-8", index_col=False, low_memory=False
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
            raise RequestError(
                f"{self._path} cannot be read as CSV: {str(error).strip()}.",
                "It needs a header and as many values in each row; dataset.params.separator=';' "
                "tells of another separator.",
            ) from error
        except UnicodeDecodeError as error:
            raise RequestError(
                f"{self._path} is no text in UTF-8: {error.reason} at byte {error.start}.",
                "Save it as UTF-8.",
            ) from error
        except OSError as error:
            raise RequestError(f"{self._path} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class Parquet(Table):
    """A Parquet file; only the columns that are asked for are read."""

    name = "parquet"

    def read(self) -> pd.DataFrame:
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self._path) as file:
                names = list(file.schema_arrow.names)
                wanted = {str(self.target), *(self.columns or names)}
                self._chosen(names)
                return file.read([name for name in names if name in wanted]).to_pandas()
        except (pyarrow.ArrowException, OSError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RequestError(
                f"{self._path} cannot be read as Parquet: {first.rstrip('.')}.",
                "pandas.DataFrame.to_parquet writes such files.",
            ) from error
