"""Do the statistics keep what they promise? Simulated sweeps with a known truth.

python benchmarks/simulations.py            writes docs/statistics.md (some ten minutes)
python benchmarks/simulations.py --sweep FOLDER
python benchmarks/simulations.py --again    with the spread that the page has, without training

The spread of the machine comes from a sweep with an A/A control: the one given, or one that is run
first. Everything else is drawn from fixed seeds.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from machine import machine
from page import machine_line, table

from fwcompare.arms import Run, load_runs
from fwcompare.compare import compare
from fwcompare.record import RunRecord
from fwcompare.stats.criteria import Criteria
from fwcompare.stats.inference import of_pairs
from fwcompare.stats.planner import seeds_for_detection, upper_spread
from fwcompare.verdict import CONTROL, THROUGHPUT

PAGE = Path("docs/statistics.md")

SEEDS = (3, 5, 10, 20)
ENGINES = 7
SLOW_DOWN = 0.05

#: Standard deviation of the logarithm of one pair's ratio, where nothing was measured.
SPREADS = (0.01, 0.03, 0.10)

#: Samples and sweeps that are simulated: for a coverage, for a power, and for a rate of false
#: alarms by the number of seeds, where resampling takes its time.
COVERAGE_SWEEPS, POWER_SWEEPS = 10_000, 300
CONTROL_SWEEPS = {3: 10_000, 5: 10_000, 10: 2_000}

#: Pairs of the sweep from which the planner learns the spread.
PILOT = 5

#: Nobody runs more; a plan beyond is cut to it, which can only lose power.
MOST_SEEDS = 400

Draw = Callable[[np.random.Generator, int], np.ndarray]

#: Shapes of the noise in the logarithm of one pair's ratio, each with mean 0 and variance 1.
SHAPES: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails (Student's t, 4 degrees)": lambda rng, n: rng.standard_t(4, n) / math.sqrt(2),
    "both arms are held up at times (Laplace)": lambda rng, n: rng.laplace(size=n) / math.sqrt(2),
    "one arm is held up at times (exponential)": lambda rng, n: rng.exponential(size=n) - 1,
}

TEXT = """\
# Simulations of the statistics

Written by `python benchmarks/simulations.py`; do not edit. What is estimated, and how, stands in
[method](method.md).

{machine}

## Coverage of the intervals

How often a 95 % interval holds the true ratio, of {coverage_sweeps:,} samples each. Promised: 93 to
97 % where the noise of a pair is normal. From ten seeds on the bootstrap also keeps it for noise
that is not; with fewer nothing can, and the last row shows the price.

{coverage}

## False alarms

Share of sweeps without any difference in which at least one arm is called faster or slower.
Promised: at most 5 %; for two engines the test is exact, and 5 % is what it must come to. The
simulation's own error is twice {alarm_error:.1%} for 3 and 5 seeds ({control_sweeps:,} sweeps), and
twice {alarm_error_10:.1%} for 10 ({control_sweeps_10:,}). The equivalence margin is 0 here.

{alarms}

## Finding a difference

Share of sweeps, of {power_sweeps:,} each, that call an arm slower whose true speed is 5 % less. The
planner sees a sweep of {pilot} seeds, drawn anew each time, and names the number of seeds for a
difference of 5 %; then a sweep with that many seeds, or {most_seeds} if it names more, is judged.
Promised: at least 80 %.

{power}

The spread measured here is that of {measured_pairs} pairs of equal runs
({measured_what}): {measured:.1%}.

With an A/A control a difference must also exceed the noise floor, and the planner asks for more
seeds then.
"""


@dataclass(frozen=True)
class Measured:
    """The spread of one pair's ratio where nothing differs, as this machine has it."""

    spread: float
    pairs: int
    what: str


def measure(folder: Path | None) -> Measured:
    """The spread in a sweep with an A/A control; makes one if none is given."""
    with tempfile.TemporaryDirectory() as root:
        if folder is None:
            folder = Path(root) / "sweeps" / "control"
            command = Path(sys.executable).with_name("fwcompare")
            asked = [
                "framework=pytorch", "model=mlp", f"seed=range({PILOT * 2})", "device.threads=1",
                "compare.control=true", "parity.in_sweep=false", "tracking=none",
                f"paths.outputs={root}", "sweep.name=control",
            ]  # fmt: skip
            subprocess.run([command, "-m", *asked], check=True, stdout=subprocess.DEVNULL)
        comparison = compare(load_runs(folder))[0]
    found = next(row.speed for row in comparison.rows if row.speed.kind == CONTROL).estimate
    assert found is not None and found.spread is not None
    return Measured(found.spread, found.pairs, f"{comparison.baseline}, {comparison.title}")


def measured_before() -> Measured:
    """The spread that the page has, from the sweep that it was measured in."""
    said = re.search(
        r"that of (\d+) pairs of equal runs\n\((.*)\): ([\d.]+)%", PAGE.read_text(encoding="utf-8")
    )
    if said is None:
        raise SystemExit(f"{PAGE} names no spread.")
    return Measured(float(said[3]) / 100, int(said[1]), said[2])


def coverage(draw: Draw, count: int, sweeps: int) -> float:
    """Share of 95 % intervals that hold the true mean."""
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(sweeps):
        low, high = of_pairs(draw(rng, count)).interval(0.95) or (math.nan, math.nan)
        held += low <= 0 <= high
    return held / sweeps


def sweep(
    rng: np.random.Generator,
    engines: int,
    seeds: int,
    spread: float,
    slow_down: float = 0.0,
    control: bool = False,
) -> list[Run]:
    """Runs whose pairs have the given spread; the second engine is slower by ``slow_down``."""
    seed_effects = rng.normal(0, 0.05, seeds)
    runs = []
    for engine in range(engines + control):
        again = engine == engines
        noise = rng.normal(0, spread / math.sqrt(2), seeds)
        for seed in range(seeds):
            slower = math.log1p(-slow_down) if engine == 1 else 0.0
            speed = 1000 * math.exp(seed_effects[seed] + noise[seed] + slower)
            record = RunRecord(f"{engine}-{seed}", "ok", "", 0, 1, metrics={THROUGHPUT: speed})
            runs.append(Run(str(0 if again else engine), seed, record, control=again))
    return runs


def verdicts(runs: Sequence[Run], criteria: Criteria) -> dict[str, str]:
    """The kind of verdict on the speed of every arm."""
    (comparison,) = compare(runs, "", "0", criteria=criteria)
    return {row.label: row.speed.kind for row in comparison.rows}


def false_alarms(engines: int, seeds: int, sweeps: int, control: bool) -> float:
    """Share of sweeps without any difference that claim one."""
    rng = np.random.default_rng([engines, seeds])
    criteria = Criteria(speed_margin=0.0)
    alarms = 0
    for _ in range(sweeps):
        found = verdicts(sweep(rng, engines, seeds, 0.03, control=control), criteria)
        alarms += bool({"faster", "slower"} & set(found.values()))
    return alarms / sweeps


def planned_seeds(pilot: np.ndarray, engines: int, control: bool) -> int:
    """What the planner names after a pilot sweep, shape (pairs,): seeds to find the slow-down."""
    upper = upper_spread(float(pilot.std(ddof=1)), len(pilot))
    alpha, floor = 0.05 / (engines - 1), 0.95 if control else None
    found = seeds_for_detection(upper, math.log1p(SLOW_DOWN), alpha, floor_confidence=floor)
    return min(found or MOST_SEEDS, MOST_SEEDS)


@dataclass
class Power:
    """How often the slow-down is found with the seeds that were planned."""

    seeds: list[int] = field(default_factory=list)
    hits: int = 0

    def cells(self) -> list[str]:
        return [f"{np.median(self.seeds):g}", f"{self.hits / len(self.seeds):.1%}"]


def power(engines: int, spread: float, sweeps: int) -> tuple[Power, Power]:
    """Plan and sweep, again and again, without a control and with one."""
    rng = np.random.default_rng([engines, round(spread * 1e4)])
    found = Power(), Power()
    for _ in range(sweeps):
        pilot = rng.normal(0, spread, PILOT)
        for control, own in enumerate(found):
            own.seeds.append(planned_seeds(pilot, engines, bool(control)))
            runs = sweep(rng, engines, own.seeds[-1], spread, SLOW_DOWN, bool(control))
            own.hits += verdicts(runs, Criteria())["1"] == "slower"
    return found


def coverage_rows() -> Iterable[list[str]]:
    for name, draw in SHAPES.items():
        yield [name, *(f"{coverage(draw, n, COVERAGE_SWEEPS):.1%}" for n in SEEDS)]


def alarm_rows() -> Iterable[list[str]]:
    for engines in (2, ENGINES):
        for control in (False, True):
            name = f"{engines} engines{', with a control' if control else ''}"
            rates = (false_alarms(engines, n, s, control) for n, s in CONTROL_SWEEPS.items())
            yield [name, *(f"{rate:.1%}" for rate in rates)]


def power_rows(measured: float) -> Iterable[list[str]]:
    for engines in (2, ENGINES):
        for name, spread in [
            (f"{measured:.1%}, measured here", measured),
            *((f"{s:.0%}", s) for s in SPREADS),
        ]:
            alone, controlled = power(engines, spread, POWER_SWEEPS)
            yield [f"{engines} engines", name, *alone.cells(), *controlled.cells()]


def _seeds(count: int) -> str:
    return f"{count} seeds"


def main() -> None:
    """Simulate, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", type=Path, help="folder of a sweep with compare.control=true")
    parser.add_argument("--again", action="store_true", help="with the spread that the page has")
    given = parser.parse_args()
    measured = measured_before() if given.again else measure(given.sweep)
    began = time.perf_counter()
    page = TEXT.format(
        machine=machine_line(machine()),
        coverage_sweeps=COVERAGE_SWEEPS,
        control_sweeps=CONTROL_SWEEPS[3],
        control_sweeps_10=CONTROL_SWEEPS[10],
        alarm_error=math.sqrt(0.05 * 0.95 / CONTROL_SWEEPS[3]),
        alarm_error_10=math.sqrt(0.05 * 0.95 / CONTROL_SWEEPS[10]),
        power_sweeps=POWER_SWEEPS,
        pilot=PILOT,
        most_seeds=MOST_SEEDS,
        coverage=table(["noise of a pair", *map(_seeds, SEEDS)], coverage_rows()),
        alarms=table(["sweep", *map(_seeds, CONTROL_SWEEPS)], alarm_rows()),
        power=table(
            [
                "sweep",
                "spread of a pair",
                "seeds planned, median",
                "found",
                "planned with a control",
                "found",
            ],
            power_rows(measured.spread),
        ),
        measured=measured.spread,
        measured_pairs=measured.pairs,
        measured_what=measured.what,
    )
    PAGE.write_text(page, encoding="utf-8")
    print(f"Written: {PAGE}, after {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
