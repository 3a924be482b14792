"""Open the MLflow UI on 127.0.0.1, on the store that runs are tracked in.

fwcompare ui
fwcompare ui --port 5001
fwcompare ui tracking.uri=http://127.0.0.1:5000
"""

from __future__ import annotations

import argparse

from rich.console import Console

from fwcompare.compose import compose
from fwcompare.errors import RequestError
from fwcompare.tracker import store_uri

SUMMARY = "the MLflow UI on 127.0.0.1"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="options, such as tracking.uri=...")
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (5000)")


def run(arguments: argparse.Namespace) -> int:
    from fwcompare.track import end, serve_ui

    made = compose(arguments.overrides)
    uri = store_uri(made.tracking, made.outputs)
    console = Console()
    if "://" not in uri or uri.startswith("file:"):
        raise RequestError(
            f"tracking.uri={uri}: MLflow keeps no store in plain files any more.",
            "Use SQLite (the default), another database, or a tracking server.",
        )
    if uri.startswith(("http://", "https://")):
        console.print(f"This store has a UI of its own: {uri}", soft_wrap=True)
        return 0
    if made.tracking.uri is None and not (made.outputs / "mlflow.db").exists():
        raise RequestError(
            f"There is no MLflow store in {made.outputs} yet.",
            "Make a run first: fwcompare framework=pytorch",
        )
    console.print("Starting the MLflow UI ...", style="dim")
    server = serve_ui(uri, port=arguments.port)
    try:
        console.print(f"MLflow UI: http://127.0.0.1:{arguments.port}  (Ctrl-C ends it)")
        code: int = server.wait()
        return 1 if code else 0
    except KeyboardInterrupt:
        return 0
    finally:
        end(server)
