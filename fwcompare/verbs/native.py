"""Write a weight map to begin with, for a model of your own in a framework's code.

  fwcompare native template mlp --framework pytorch --code net.py:build
  fwcompare native template my_net --config-dir my_conf --framework keras --code net.py:build \\
      --output net.yml

The code is run, in a process of its own, and its model laid beside the layers of MODEL: what is
matched by shape and order is written, the rest stands as comments to fill in. Then:

  fwcompare parity model=MODEL model.native.keras=net.py:build --engines keras_tensorflow

docs/how-to/port-a-model.md has a whole example.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from fwcompare.compose import compose
from fwcompare.errors import RequestError, RunError
from fwcompare.launch import WarmPool
from fwcompare.limits import user_path
from fwcompare.native.read import code, located
from fwcompare.native.template import TEMPLATE_FILE
from fwcompare.plugin import NativeSide, front, installed, native_keys
from fwcompare.record import SPEC_FILE
from fwcompare.terminal import stderr
from fwcompare.waiting import waiting

SUMMARY = "a weight map to begin with, for a model of your own code"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("template",))
    parser.add_argument("model", help="name of a model, such as cnn")
    parser.add_argument("overrides", nargs="*", help="options, such as dataset=digits")
    parser.add_argument("--framework", required=True, help="engine that the code is for")
    parser.add_argument("--code", required=True, metavar="FILE.py:FUNCTION")
    parser.add_argument("--config-dir", help="folder with your own configuration groups")
    parser.add_argument(
        "--output", type=user_path, metavar="FILE", help="file to write (the terminal)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def run(arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    if output and output.exists() and not arguments.force:
        raise RequestError(f"{output} exists already.", "Give --force to replace it.")
    model = arguments.model if "=" in arguments.model else f"model={arguments.model}"
    options = [model, *arguments.overrides, f"framework={arguments.framework}"]
    made = compose(options, arguments.config_dir)
    made.cfg["model"].pop("native", None)  # what it names may not be there yet
    spec = made.plan().spec
    engine = front(spec.framework.name)
    native: NativeSide | None = getattr(engine, "native", None)
    if native is None:
        able = sorted(name for name in installed() if native_keys(front(name)))
        raise RequestError(
            f"The engine '{engine.name}' takes no code of one's own.",
            f"These do: {', '.join(able)}.",
        )
    path, function = located(arguments.code, made.places)
    own = code(path, function, {})
    spec = spec.but(framework=replace(spec.framework, code=own))
    with (
        tempfile.TemporaryDirectory(prefix="fwcompare-native-") as root,
        waiting(stderr(), f"Building {own.shown} ..."),
        WarmPool() as pool,
    ):
        folder = Path(root)
        spec.write(folder / SPEC_FILE)
        reply = pool.template(spec, folder, native.template)
        if reply["status"] != "ok":
            raise RunError(f"{engine.name}: {reply['reason']}")
        lines = (folder / TEMPLATE_FILE).read_text(encoding="utf-8").splitlines()
    text = f"{native.keys[-1]}:\n" + "".join(f"  {line}\n" for line in lines)
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{output} cannot be written: {error.strerror}.") from error
    return 0
