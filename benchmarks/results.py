"""``docs/results.md``: what the models reach on real data, in every engine.

    .venv/bin/python benchmarks/results.py [--folder /usr/share/datasets/fashion-mnist]

Takes some forty minutes on one core. What was trained before is not trained again, and with
``--only`` the other sections stay as they are on the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overhead import ENGINES
from page import table

from fwcompare.record import SAMPLES_FILE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
OUTPUTS = ROOT / "outputs" / "results"
COMMAND = Path(sys.executable).with_name("fwcompare")


@dataclass(frozen=True)
class Experiment:
    """One command, and what is quoted of its runs; ``pipeline``: what having a batch takes, too."""

    name: str
    engines: tuple[str, ...]
    options: tuple[str, ...]
    metric: str
    pipeline: bool = False

    @property
    def command(self) -> str:
        """As a reader would write it."""
        lines = [f"framework={','.join(self.engines)}", *self.options]
        return "fwcompare -m " + " \\\n    ".join(lines)


FASHION = Experiment(
    "fashion_mnist",
    ENGINES,
    (
        "model=cnn dataset=fashion_mnist trainer.epochs=2 scheduler=cosine",
        "device.threads=1 parity.in_sweep=false",
    ),
    "test/accuracy",
    pipeline=True,
)
CLASSES = Experiment(
    "text_classes",
    ("pytorch", "keras_tensorflow", "jax"),
    (
        "model=gru,lstm dataset=python_packages trainer.epochs=3",
        "device.threads=1 parity.in_sweep=false",
    ),
    "test/accuracy",
)
WRITTEN = Experiment(
    "text_written",
    ("pytorch", "keras_tensorflow", "jax"),
    (
        "model=gpt_small dataset=python_reference task=language_modelling",
        "trainer.epochs=3 optimizer.lr=0.003 device.threads=1 parity.in_sweep=false",
    ),
    "test/perplexity",
)

HEAD = """\
# What the models reach

That engines compute the same is [proven](parity.md) in float64, on few steps. Here real data are
trained on, in float32, with seed 0. Written by `python benchmarks/results.py`; do not edit.
"""

#: A section of the page for each experiment, in the order of the page.
SECTIONS = {
    FASHION: """\
## Fashion-MNIST

`cnn`, two passes over the 54,000 pictures that remain of the published training split, tested on
the published 10,000:

<!-- test: skip, it takes minutes -->
```bash
{command}
```

{table}

*Having a batch* is `perf/input_ms_median`: what an engine waits for a batch of 64 pictures when it
does nothing else, and its share of a step ([metrics](reference/metrics.md)).

All start from the same weights and see the same batches; what differs behind the second digit is
where rounding has led each of them. `dataset.params.folder=/usr/share/datasets/fashion-mnist` takes
the files of Debian's package `dataset-fashion-mnist`; `make test-system` trains two of the engines
on them and wants 0.90.
""",
    CLASSES: """\
## Text with labels

From which of six packages of Python's library 64 bytes are; a guess is right in one of six, or as
often as the largest package comes.

<!-- test: skip, it takes minutes -->
```bash
{command}
```

{table}

The curves of the LSTM part, and its mathematics do not: in float64 a hundred steps on these data
agree to 1e-13 (`fwcompare parity model=lstm dataset=python_packages`). In float32 rounding decides
where a loss that wavers like this stands at the end of a pass: compare accuracies over seeds.
""",
    WRITTEN: """\
## Text that is written

A decoder of 137,000 parameters on half a megabyte of English. A guess of 256 bytes at random has a
perplexity of 256.

<!-- test: skip, it takes minutes -->
```bash
{command}
```

{table}

The beginning of what one of them writes:

```
{sample}
```
""",
}


def train(experiment: Experiment, more: Sequence[str]) -> None:
    """Run a sweep, but for the cells that are done. Raises ``SystemExit`` where a run fails."""
    options = [word for option in experiment.options for word in option.split()]
    given = [f"framework={','.join(experiment.engines)}", *options, *more]
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        [COMMAND, "-m", *given, f"sweep.name={experiment.name}", "tracking=none"],
        cwd=OUTPUTS,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{experiment.name}: ended with {ended.returncode}.")


def records(experiment: Experiment) -> Iterator[tuple[dict[str, Any], dict[str, Any], Path]]:
    """Spec, record and folder of each run that ended well, by engine and model."""
    folders = (OUTPUTS / "outputs" / "sweeps" / experiment.name).glob("*/record.json")
    found = []
    for path in folders:
        record = json.loads(path.read_text(encoding="utf-8"))
        spec = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
        if record["status"] == "ok":
            place = experiment.engines.index(spec["framework"]["name"])
            found.append((place, spec["model"]["name"], spec, record, path.parent))
    for _, _, spec, record, folder in sorted(found, key=lambda entry: entry[:2]):
        yield spec, record, folder


def rows(experiment: Experiment, digits: int) -> Iterator[list[str]]:
    """A row for each run."""
    for spec, record, _ in records(experiment):
        validation = experiment.metric.replace("test/", "val/")
        passes = [f"{epoch[validation]:.{digits}f}" for epoch in record["history"]]
        metrics = record["metrics"]
        row = [
            spec["framework"]["name"],
            spec["model"]["name"],
            ", ".join(passes),
            f"{metrics[experiment.metric]:.{digits}f}",
        ]
        if experiment.pipeline:
            step_ms, batch_ms = metrics["perf/step_ms_median"], metrics["perf/input_ms_median"]
            row += [f"{step_ms:.2f}", f"{batch_ms:.3f}", f"{batch_ms / step_ms:.1%}"]
        yield row


def shown(experiment: Experiment, digits: int) -> str:
    """The table of an experiment."""
    quantity = experiment.metric.removeprefix("test/")
    head = ["engine", "model", f"validation {quantity} after each pass", f"test {quantity}"]
    if experiment.pipeline:
        head += ["step, ms", "having a batch, ms", "share of a step"]
    trained = list(rows(experiment, digits))
    missing = [engine for engine in experiment.engines if engine not in {row[0] for row in trained}]
    left = f"\n\nNot trained yet: {', '.join(missing)}." if missing else ""
    return table(head, trained) + left


def sample(lines: int = 14) -> str:
    """The beginning of what the first language model wrote, with what it was given."""
    for _, _, folder in records(WRITTEN):
        text = (folder / SAMPLES_FILE).read_text(encoding="utf-8")
        return "\n".join(text.splitlines()[:lines])
    return ""


def section(experiment: Experiment, page: str) -> str:
    """The section of an experiment; that of ``page`` where nothing of it was trained here."""
    text = SECTIONS[experiment]
    heading = text.splitlines()[0]
    if not any(True for _ in records(experiment)) and heading in page:
        return heading + page.partition(heading)[2].partition("\n## ")[0].rstrip() + "\n"
    return text.format(
        command=experiment.command,
        table=shown(experiment, 2 if experiment is WRITTEN else 4),
        sample=sample(),
    )


def main() -> None:
    """Train what was not trained yet and write the page."""
    names = {experiment.name: experiment for experiment in SECTIONS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="the files of Fashion-MNIST; fetched if not given")
    parser.add_argument("--only", nargs="*", choices=names, default=list(names))
    given = parser.parse_args()
    for name in given.only:
        experiment = names[name]
        own = experiment is FASHION and given.folder
        train(experiment, [f"dataset.params.folder={given.folder}"] if own else [])
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    sections = [section(experiment, page) for experiment in SECTIONS]
    PAGE.write_text("\n".join([HEAD, *sections]), encoding="utf-8")
    print(f"Written: {PAGE}")


if __name__ == "__main__":
    main()
