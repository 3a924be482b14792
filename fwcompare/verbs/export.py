"""Take a trained model away: a run's weights as a file of any framework.

  fwcompare export RUN --format state_dict
  fwcompare export RUN --format keras --output model.keras
  fwcompare export RUN --format state_dict --output model.safetensors

The run may be of any engine.

  state_dict   PyTorch: .pt for torch.load(FILE, weights_only=True), or .safetensors, with the names
               of a module whose attributes are called like the layers
  keras        Keras 3: a whole model for keras.saving.load_model, on any backend; it needs nothing
               of fwcompare
  flax         Flax NNX: a msgpack of nested names, for nnx.replace_by_pure_dict
  safetensors  the canonical weights: layer/tensor, channels last

How the file is loaded is printed. docs/how-to/export.md has a whole example of each.
"""

from __future__ import annotations

import argparse

from rich.text import Text

from fwcompare.compose import compose
from fwcompare.folders import find_run
from fwcompare.formats import take_away
from fwcompare.limits import user_path
from fwcompare.terminal import stderr, stdout
from fwcompare.waiting import waiting

SUMMARY = "a run's trained model as a file of any framework"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="name or folder of a run")
    parser.add_argument("--format", required=True, help="state_dict, keras, flax or safetensors")
    parser.add_argument(
        "--output", type=user_path, metavar="FILE", help="file to write (RUN.SUFFIX)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument("--outputs", help="folder of the runs (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    outputs = user_path(arguments.outputs) if arguments.outputs else compose([]).outputs
    folder = find_run(arguments.run, outputs)
    with waiting(stderr(), f"Writing {arguments.format} ..."):
        written = take_away(folder, arguments.format, arguments.output, arguments.force)
    out = stdout()
    size = written.file.stat().st_size
    out.print(
        Text(f"Wrote {written.file}, {size:,} bytes. To load it:", style="bold"), soft_wrap=True
    )
    for line in written.loading:
        out.print(Text(f"    {line}" if line else ""), soft_wrap=True)
    return 0
