"""The page of a sweep: whole, escaped, and made of the comparison's own figures."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest

from fwcompare import report
from fwcompare.audit.collect import AUDITS_FILE, Audit
from fwcompare.audit.lines import Line
from fwcompare.compare import BreakEven, Spread
from fwcompare.outcome import outcome
from fwcompare.page import evidence
from fwcompare.page import html as html_page
from fwcompare.record import write_json

HOSTILE = (
    "<script>document.title='taken'</script>",
    '"><img src=x onerror=document.title=1>',
    "</script><script>document.title=2</script>",
    "{{ 7 * 7 }} ${x} `y` %{x} '\\u003c <b>&amp;",
)
QUESTIONS = (
    "Which is faster?",
    "Did they learn the same?",
    "Where did the time go?",
    "How much memory?",
    "How fast does it predict?",
    "How close to the machine's peak?",
    "Is it the same experiment?",
    "What would the frameworks have done by themselves?",
    "On what machine?",
    "How to reproduce it?",
)


class Outline(HTMLParser):
    """Collects the elements of a page, and its text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self._open = tag
        self.elements.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open in ("h1", "h2", "h3"):
            self.headings[-1] += data
        if self._open not in ("script", "style"):
            self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def data(self, name):
        """The JSON that the page's script reads."""
        numbers = [a.get("id") for a in self.of("script")]
        return json.loads(self.scripts[numbers.index(name)])


def test_every_question_is_answered(make_sweep, page):
    made = Outline(page(make_sweep()))
    assert [heading for heading in made.headings if heading in QUESTIONS] == list(QUESTIONS)
    assert "No run has shown it." not in made.text
    assert re.search(r"jax trains 1\.\d\dx faster than pytorch \[1", made.text)
    assert "FAILS\n2.0e-09 (≤ 1e-11)" in made.text and "fails at logits/bias" in made.text


def test_it_needs_no_network(make_sweep, page):
    made = Outline(page(make_sweep()))
    loading = [
        value
        for tag, attributes in made.elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "data", "action") or (name == "href" and value[:1] != "#")
    ]
    assert loading == []
    (policy,) = [a["content"] for a in made.of("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    style = page(make_sweep(name="other")).split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_no_script_may_run_but_those_of_the_page(make_sweep, page):
    made = Outline(page(make_sweep()))
    (policy,) = [a["content"] for a in made.of("meta") if "http-equiv" in a]
    running = [
        source
        for attributes, source in zip(made.of("script"), made.scripts, strict=True)
        if attributes.get("type") != "application/json"
    ]
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in running]
    allowed = re.search(r"script-src ([^;]*);", policy)[1].split()
    assert [f"'sha256-{digest}'" for digest in digests] == allowed


def test_figures_have_words_and_a_table(make_sweep, page):
    made = Outline(page(make_sweep()))
    plots = made.data("plots")
    places = [a for a in made.of("div") if a.get("class") == "plot"]
    assert [place["id"] for place in places] == list(plots) and len(plots) >= 12
    assert all(place["role"] == "img" and len(place["aria-label"]) > 20 for place in places)
    assert len(made.of("figure")) == len(made.of("figcaption")) == len(places)
    assert made.text.count("Numbers of the figure") == len(places)


def test_figures_are_plotly_s(make_sweep, page):
    for name, plot in Outline(page(make_sweep())).data("plots").items():
        drawn = go.Figure(plot)
        assert drawn.data and all(len(trace.x) == len(trace.y) for trace in drawn.data), name


def test_the_intervals_are_those_of_the_table(make_sweep, page):
    folder = make_sweep()
    (comparison,) = outcome(folder).comparisons
    row = next(row for row in comparison.rows if row.label == "jax")
    plots = Outline(page(folder)).data("plots")
    (trace,) = plots["figure-1-1-1"]["data"]
    own = row.speed.estimate
    assert trace["x"][0] == pytest.approx(own.value, rel=1e-4)
    assert trace["x"][0] + trace["error_x"]["array"][0] == pytest.approx(own.high, rel=1e-4)
    assert trace["x"][0] - trace["error_x"]["arrayminus"][0] == pytest.approx(own.low, rel=1e-4)


def test_an_engine_has_one_colour(make_sweep, page):
    """Also one whose plugin is not installed any more."""
    made = Outline(page(make_sweep(engines=("pytorch", "gone", "jax"))))
    palettes = made.data("palettes")
    for palette in palettes.values():
        assert len({palette[f"engine-{number}"] for number in range(3)}) == 3
    assert palettes["light"]["engine-1"] == report.colour("jax").lower()
    seen = json.dumps(made.data("plots"))
    assert all(f"var(--engine-{number})" in seen for number in range(3))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(make_sweep, page, name):
    whole = page(make_sweep(engines=("pytorch", name), models=(name,), command=f"fwcompare {name}"))
    made, plain = Outline(whole), Outline(page(make_sweep(name="plain")))
    assert len(made.scripts) == len(plain.scripts), "no script was added"
    assert not made.of("img") and not [a for _, a in made.elements if "onerror" in a]
    assert f"fwcompare {name}" in made.text
    plots = made.data("plots")
    shown = html.escape(name if len(name) <= 30 else name[:29] + "…", quote=False)
    (label,) = plots["figure-1-1-1"]["layout"]["yaxis"]["ticktext"]
    assert label.replace("<br>", " ") == shown, "escaped for Plotly too"
    for attributes in made.of("script"):
        if attributes.get("type") == "application/json":
            source = made.scripts[made.of("script").index(attributes)]
            assert "<" not in source


def test_a_sweep_in_progress(make_sweep, page):
    folder = make_sweep(status=lambda engine, seed: "ok" if seed < 2 else "running")
    made = Outline(page(folder))
    assert "In progress: 4 of 8 runs have not ended yet." in made.text
    assert "too few seeds to say" in made.text


def test_failed_runs_alone(make_sweep, page):
    made = Outline(page(make_sweep(status=lambda engine, seed: "failed")))
    assert "8 of 8 runs did not end well: 8 failed." in made.text
    assert "nothing can be concluded" in made.text and "jax failed" in made.text
    assert made.data("plots") == {}


def test_one_run(make_sweep, page):
    made = Outline(page(make_sweep(engines=("pytorch",), seeds=1)))
    assert "there is nothing to compare it with" in made.text
    assert made.data("plots"), "it has curves all the same"


def test_when_compiling_pays_stands_beside_the_time(make_sweep):
    folder = make_sweep()
    found = outcome(folder)
    steps = BreakEven("jax", "pytorch", Spread(1500.0, 900.0, math.inf, 3))
    comparison = replace(found.comparisons[0], break_even=(steps,))
    made = Outline(html_page.render(evidence.gather(folder, found.runs, [comparison])))
    section = made.text[made.text.rindex("Where did the time go?") :]
    said = "jax against pytorch: has repaid its compilation after 1,500 steps [900, never]."
    assert section.split("Seconds of a whole run")[0].strip().endswith(said)


def test_defaults_are_shown_where_they_played_no_part(make_sweep, page):
    folder = make_sweep()
    lines = (Line("batch_norm", "momentum", {"pytorch": 0.9, "jax": 0.99}),)
    audit = Audit("native", "mlp", "sgd", ("pytorch", "jax"), lines, {})
    write_json(folder / AUDITS_FILE, [audit.to_json()])
    text = Outline(page(folder)).text
    assert "These are what they would have been" in text
    assert "Resolved differently (mlp, sgd, native semantics)" in text and "0.99" in text


def test_several_workloads_have_a_profile(make_sweep, page):
    made = Outline(page(make_sweep(models=("mlp", "cnn", "resnet"))))
    assert made.headings.count("Which is faster?") == 3
    assert "Who is close to the best everywhere?" in made.headings
    assert "Performance profile over 3 workloads" in made.text


def test_of_many_workloads_the_first_have_figures(make_sweep, page):
    made = Outline(page(make_sweep(seeds=3, models=[f"model{n}" for n in range(42)], epochs=1)))
    assert made.headings.count("How much memory?") == 40
    assert "2 more workloads" in made.headings
    table = made.text[made.text.index("What was found elsewhere?") :]
    assert all(f"model{n} on" in table for n in (40, 41)) and "faster [" in table


def test_curves_are_thinned_to_what_a_page_bears(make_sweep, page):
    made = Outline(page(make_sweep(epochs=250)))
    lines = [
        trace
        for plot in made.data("plots").values()
        for trace in plot["data"]
        if trace.get("line", {}).get("dash") and len(trace["x"]) > 50
    ]
    assert lines and all(len(trace["x"]) == 100 for trace in lines)
    assert {trace["x"][-1] for trace in lines} >= {250.0}, "the last epoch is always there"
    assert "Not every epoch is drawn." in made.text


def test_a_huge_command_is_cut(make_sweep, page):
    huge = "fwcompare -m " + "model.params.width=1 " * 100_000
    whole = page(make_sweep(command=huge))
    assert f"cut; {len(huge):,} characters" in whole and len(whole) < 6e6


def test_the_page_of_a_thousand_runs_is_no_giant(make_sweep, page):
    folder = make_sweep(
        engines=tuple("abcdefg"), seeds=12, models=[f"model{n}" for n in range(12)], epochs=30
    )
    assert len(page(folder).encode()) < 10e6


def test_neither_mlflow_nor_a_framework_is_imported(make_sweep):
    folder = make_sweep()
    code = (
        "import sys; from fwcompare.cli import main\n"
        f"main(['report', {str(folder)!r}, '--format', 'html'])\n"
        "print([m for m in ('mlflow', 'torch', 'jax', 'tensorflow', 'keras') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip().splitlines()[-1] == "[]"
