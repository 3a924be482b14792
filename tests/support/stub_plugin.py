"""The stub engine as an installed plugin: a folder that a command line gets as PYTHONPATH."""

from __future__ import annotations

from pathlib import Path

from fwcompare.testing import write_plugin

#: What makes a run of the stub as short as a process can be.
SHORT = (
    "framework=stub",
    "model=logistic",
    "optimizer=sgd",
    "trainer.epochs=1",
    "trainer.max_steps=2",
    "device.threads=1",
    "measure.predict_s=0",
    "measure.predict_calls=0",
    "parity.in_sweep=false",
)


def install(folder: Path) -> Path:
    """Make the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    code = (Path(__file__).parent / "stub_engine.py").read_text()
    write_plugin(folder, "stub", code)
    (folder / "stub_engine.py").write_text(code)  # the name by which a worker imports it
    return folder
