"""The page itself: the template filled in, and written beside the runs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fwcompare import __version__
from fwcompare.atomic import write_text
from fwcompare.page import words
from fwcompare.page.chapters import chapters
from fwcompare.page.evidence import Evidence
from fwcompare.page.outline import Chapter
from fwcompare.page.palette import Palette, marks, palettes

#: File in a sweep folder.
PAGE_FILE = "report.html"


def render(evidence: Evidence) -> str:
    """The page as one string of HTML that needs no network.

    Names come from whoever configured the sweep: the template escapes them, JSON for scripts has
    no ``<``, and the policy of the page lets no script run but its own two, by their digest.
    """
    environment = Environment(
        loader=PackageLoader("fwcompare.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    styles = marks(evidence.comparisons)
    parts = chapters(evidence, styles)
    plots = dict(_plots(parts))
    script, plotly = _own("page.js"), get_plotlyjs() if plots else ""
    colours = palettes(evidence.comparisons)
    return environment.get_template("page.html").render(
        title=evidence.name,
        version=__version__,
        progress=list(words.progress(evidence)),
        chapters=parts,
        marks=styles,
        plots=plots,
        palettes=colours,
        variables={name: Markup(_variables(palette)) for name, palette in colours.items()},
        style=Markup(_own("page.css")),
        script=Markup(script),
        plotly=Markup(plotly),
        digests=[_digest(source) for source in (plotly, script)],
        shortened=words.shortened,
    )


def write(evidence: Evidence, path: Path) -> Path:
    """Write the page. A crash leaves the old file or the new one, never half of it.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(path, render(evidence), durable=False)
    return path


def _plots(parts: Sequence[Chapter]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every plot by the id that the template gives its place."""
    for chapter, part in enumerate(parts, 1):
        for question, asked in enumerate(part.questions, 1):
            for number, figure in enumerate(asked.figures, 1):
                yield f"figure-{chapter}-{question}-{number}", figure.plot


def _own(name: str) -> str:
    return (resources.files("fwcompare.page") / "templates" / name).read_text(encoding="utf-8")


def _variables(palette: Palette) -> str:
    return " ".join(f"--{name}: {value};" for name, value in palette.items())


def _digest(source: str) -> str:
    """The digest of a script as a content security policy names it."""
    hashed = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"'sha256-{hashed}'"
