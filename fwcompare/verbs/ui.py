"""Open the MLflow UI on 127.0.0.1, on the store that runs are tracked in.

fwcompare ui
fwcompare ui --port 5001
fwcompare ui tracking.uri=http://127.0.0.1:5000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from rich.text import Text

from fwcompare.compose import compose
from fwcompare.errors import RequestError, shown
from fwcompare.secrecy import hidden
from fwcompare.terminal import stdout
from fwcompare.track import Store, end, serve_ui, sqlite_path
from fwcompare.tracker import store, store_uri

SUMMARY = "the MLflow UI on 127.0.0.1"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="options, such as tracking.uri=...")
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (5000)")


def run(arguments: argparse.Namespace) -> int:
    for option in arguments.overrides:
        if "=" not in option:
            raise RequestError(
                f"'{option}' is no option of the MLflow UI: options are written KEY=VALUE.",
                "It shows every sweep: fwcompare ui",
            )
    if not 0 < arguments.port < 65536:
        raise RequestError(f"--port must be from 1 to 65535, got {shown(str(arguments.port))}.")
    made = compose(arguments.overrides)
    uri = store_uri(made.tracking, made.outputs)
    console = stdout()
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise RequestError(
            f"There is no MLflow store in {path.parent} yet: {path.name} is missing.",
            "Make a run (fwcompare framework=pytorch), or make it from runs: fwcompare sync",
        )
    if uri.startswith(("http://", "https://")):
        console.print(f"This store has a UI of its own: {hidden(uri)}", soft_wrap=True)
        return 0
    console.print("Starting the MLflow UI ...", style="dim")
    opened = store(made.tracking, made.outputs)
    server = serve_ui(uri, port=arguments.port)
    try:
        for line in _addresses(opened, f"http://127.0.0.1:{arguments.port}"):
            console.print(line, soft_wrap=True)
        code: int = server.wait()
        return 1 if code else 0
    except KeyboardInterrupt:
        return 0
    finally:
        end(server)


def _addresses(opened: Store, site: str) -> Iterator[Text]:
    """Where to look, for links to the pages with the columns and charts that are worth seeing."""
    yield Text(f"MLflow UI: {site}  (Ctrl-C ends it)")
    for title, address in opened.addresses().items():
        yield Text(f"  {title}: {site}/{address}", style="dim")
