"""Runs whose parent died with them: found by their folders, and given their record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fwcompare.folders import all_runs
from fwcompare.launch import is_held, recover
from fwcompare.record import LOG_FILE, RECORD_FILE, SPEC_FILE, RunRecord


def cut_off(outputs: Path) -> Iterator[Path]:
    """Run folders that were begun, have no record, and that nobody watches over any more."""
    for folder in all_runs(outputs):
        begun = not (folder / RECORD_FILE).exists() and (folder / LOG_FILE).exists()
        if begun and (folder / SPEC_FILE).exists() and not is_held(folder):
            yield folder


def recover_all(outputs: Path) -> list[RunRecord]:
    """Give each of them its record."""
    return [record for folder in cut_off(outputs) if (record := recover(folder))]


def announce(outputs: Path, console: Console) -> None:
    """Give each of them its record, and say so."""
    for record in recover_all(outputs):
        text = f"{record.run} had been cut off; it has its record now: {record.status}."
        console.print(Text(text, style="yellow"), soft_wrap=True)
