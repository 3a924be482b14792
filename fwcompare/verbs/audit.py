"""Show what each framework resolves by itself: its defaults, read from what it builds.

  fwcompare audit model=cnn_bn optimizer=adam
  fwcompare audit model=article optimizer=rmsprop --engines pytorch,jax
  fwcompare audit model=cnn_bn semantics=aligned

Values that differ come first: initialiser, epsilon, momentum, decay, padding, reductions. Under
native semantics (the default here) they are each framework's own; under aligned ones they should
be the same everywhere. Nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import sys

from fwcompare.audit.collect import Audit, collect
from fwcompare.audit.table import markdown, show
from fwcompare.compose import compose
from fwcompare.config import Configuration
from fwcompare.errors import RequestError
from fwcompare.parity.prove import choose_engines, refuse_framework
from fwcompare.plugin import installed, missing_engines
from fwcompare.terminal import stderr, stdout

SUMMARY = "what each framework resolves by itself, side by side"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="options, such as model=cnn_bn")
    parser.add_argument("--engines", help="engines to audit, with commas (all that are installed)")
    parser.add_argument("--config-dir", help="folder with your own configuration groups")
    parser.add_argument("--format", choices=("table", "markdown", "json"), default="table")


def run(arguments: argparse.Namespace) -> int:
    available = [name for name in installed() if name not in missing_engines()]
    wanted = arguments.engines.split(",") if arguments.engines else None
    engines = choose_engines(wanted, available)
    if not engines:
        raise RequestError(
            "No engine is installed.", "`fwcompare doctor` lists what there is to install."
        )
    refuse_framework(arguments.overrides)
    options = list(arguments.overrides)
    if not any(option.startswith("semantics=") for option in options):
        options.append("semantics=native")
    made = compose([*options, f"framework={engines[0]}"], arguments.config_dir)
    found = audit_configuration(made, engines)
    if arguments.format == "json":
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
    elif arguments.format == "markdown":
        sys.stdout.write(markdown(found))
    else:
        show(found, stdout())
    return 0 if found.engines else 1


def audit_configuration(made: Configuration, engines: list[str]) -> Audit:
    """Audit the experiment of a configuration, with progress on the terminal."""
    plan = made.plan()
    with stderr().status("Auditing ...") as status:
        done: list[str] = []

        def progress(engine: str) -> None:
            done.append(engine)
            status.update(f"Auditing: {len(done)} of {len(engines)} engines, last {engine}")

        return collect(plan.spec, engines, progress)
