"""A small network in the code of two frameworks, with its graph and its weight map."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwcompare.compose import compose

PORTING = Path(__file__).parents[2] / "examples" / "porting"


@pytest.fixture
def porting(cache):
    """The spec of the porting example, small, with options."""

    def spec(*options: str):
        given = [
            "model=ported", "model.params.filters=3", "model.params.hidden=6", "device.threads=1",
            "trainer.batch_size=16", "trainer.epochs=1", f"paths.cache={cache}",
            "measure.predict_calls=0", *options,
        ]  # fmt: skip
        return compose(given, str(PORTING)).plan().spec

    return spec


@pytest.fixture
def own_code(tmp_path):
    """Write a folder of configuration with a model, its code and its weight map."""

    def write(layers: str, code: str, weights: str) -> Path:
        folder = tmp_path / "conf"
        model = folder / "model"
        model.mkdir(parents=True)
        (model / "own.yaml").write_text(
            "name: own\ngraph: own.yml\nparams: {}\n"
            "native: {pytorch: 'code.py:build', map: weights.yml}\n"
        )
        (model / "own.yml").write_text(layers)
        (model / "code.py").write_text(code)
        (model / "weights.yml").write_text(weights)
        return folder

    return write
