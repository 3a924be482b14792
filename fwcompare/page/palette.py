"""Colours for light and dark, and the mark of each arm: readable in both, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fwcompare.compare import Comparison
from fwcompare.report import colour

#: Names of the style sheet's variables and their values.
Palette = dict[str, str]

#: Least contrast of a mark with the paper. WCAG 2.2 (criterion 1.4.11) asks for 3; thin lines are
#: the better for a little more.
LEAST_CONTRAST = 3.5

#: Opacity of a band, and of all the bands of a figure together where they lie on each other.
_BAND, _BANDS = 0.2, 0.6

# The parts of a run's time have colours of their own, muted beside those of the engines.
_LIGHT: Palette = {
    "paper": "#ffffff",
    "shade": "#f3f5f8",
    "line": "#d3d8e0",
    "muted": "#535a66",
    "ink": "#181a1f",
    "accent": "#0b57d0",
    "alarm": "#b3261e",
    "part-import": "#7b8794",
    "part-build": "#b8c4d0",
    "part-first-step": "#1f5f5b",
    "part-further-steps": "#46968f",
    "part-evaluation": "#b9a44c",
    "part-inference": "#e0d8a8",
    "part-rest": "#e9ecf0",
}
_DARK: Palette = {
    "paper": "#14161a",
    "shade": "#1f2329",
    "line": "#3a414d",
    "muted": "#aab1bd",
    "ink": "#e8eaef",
    "accent": "#8ab4f8",
    "alarm": "#ff8a80",
    "part-import": "#8b97a5",
    "part-build": "#566270",
    "part-first-step": "#9bdad3",
    "part-further-steps": "#3f8f88",
    "part-evaluation": "#b9a44c",
    "part-inference": "#6f6738",
    "part-rest": "#2b3038",
}

#: For engines whose plugin is not installed: the set of Okabe and Ito (2008), told apart by people
#: with colour blindness too.
_FALLBACK = ("#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#E69F00")

#: Arms of one engine share its colour: their lines differ. All arms differ in their symbol.
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = (
    "circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "pentagon", "star",
)  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """How an arm is drawn in every figure; colours are variables of the style sheet."""

    colour: str
    band: str
    dash: str
    symbol: str


def marks(comparisons: Iterable[Comparison]) -> dict[str, Mark]:
    """The mark of each arm of a sweep by its label."""
    found: dict[str, Mark] = {}
    lines: dict[str, int] = {}
    rows = {row.label: row.engine for comparison in comparisons for row in comparison.rows}
    numbers = {engine: n for n, engine in enumerate(sorted(set(rows.values())))}
    # Of an engine's arms the plainest, with the shortest name, has the plainest line.
    ordered = sorted(rows.items(), key=lambda item: (item[1], len(item[0]), item[0]))
    for position, (label, engine) in enumerate(ordered):
        line = lines.setdefault(engine, 0)
        lines[engine] += 1
        found[label] = Mark(
            variable(f"engine-{numbers[engine]}"),
            variable(f"band-{numbers[engine]}"),
            _DASHES[line % len(_DASHES)],
            _SYMBOLS[position % len(_SYMBOLS)],
        )
    return found


def variable(name: str) -> str:
    """A reference to a colour of the palette."""
    return f"var(--{name})"


def palettes(comparisons: Iterable[Comparison]) -> dict[str, Palette]:
    """The palettes ``light`` and ``dark`` with the colours of the engines compared."""
    rows = {row.label: row.engine for comparison in comparisons for row in comparison.rows}
    engines = sorted(set(rows.values()))
    given = {engine: colour(engine) for engine in engines}
    unknown = [engine for engine in engines if not _is_colour(given[engine])]
    given |= {engine: _FALLBACK[number % len(_FALLBACK)] for number, engine in enumerate(unknown)}
    opacity = min(_BAND, _BANDS / max(len(rows), 1))
    return {
        "light": _with_engines(_LIGHT, list(given.values()), opacity),
        "dark": _with_engines(_DARK, list(given.values()), opacity),
    }


def _with_engines(palette: Palette, colours: Sequence[str], opacity: float) -> Palette:
    found = dict(palette)
    for number, given in enumerate(colours):
        own = readable(given, palette["paper"])
        red, green, blue = _channels(own)
        found[f"engine-{number}"] = own
        found[f"band-{number}"] = f"rgba({red}, {green}, {blue}, {opacity:.3f})"
    return found


def readable(colour: str, paper: str) -> str:
    """The colour, mixed with black or white as far as its contrast with the paper demands."""
    target = 0 if luminance(paper) > 0.5 else 255
    channels = _channels(colour)
    for step in range(21):
        mixed = [round(c + (target - c) * step / 20) for c in channels]
        found = "#{:02x}{:02x}{:02x}".format(*mixed)
        if contrast(found, paper) >= LEAST_CONTRAST:
            break
    return found


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.2)."""
    shares = [channel / 255 for channel in _channels(colour)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _is_colour(text: str) -> bool:
    digits = text.removeprefix("#")
    return (
        len(text) == 7 and len(digits) == 6 and all(d in "0123456789abcdefABCDEF" for d in digits)
    )
