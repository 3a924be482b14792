"""The life of a sweep: blocks, order, the runs, and the comparison at the end."""

from __future__ import annotations

import gc
import random
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from fwcompare import launch, launchers, recovery, report
from fwcompare.arms import SWEEP_FILE, Run, load_run, load_runs
from fwcompare.atomic import write_text
from fwcompare.audit import table
from fwcompare.audit.collect import AUDITS_FILE, Audit, audit_runs
from fwcompare.cell import ARM_OPTIONS, Cell
from fwcompare.compare import Comparison, compare
from fwcompare.compose import CONFIG_NAME, configuration, translate, unsupported_cell
from fwcompare.config import Configuration, Parity, Tracking, new_run_id, require_name
from fwcompare.display import Display
from fwcompare.errors import RequestError, unknown
from fwcompare.launchers import Job, Launcher, Room
from fwcompare.locking import claimed
from fwcompare.parity.standing import PROOFS_FILE, prove_runs
from fwcompare.plugin import front
from fwcompare.record import NO_FAILURES, SPEC_FILE, RunRecord, now_ms, write_json
from fwcompare.resume import Resumption, retries, take_up
from fwcompare.roofline import Peak, measure, read_peaks
from fwcompare.secrecy import hidden
from fwcompare.spec import RunSpec
from fwcompare.stats.criteria import Criteria
from fwcompare.terminal import stderr, stdout
from fwcompare.trust import weighed, with_peak_shares
from fwcompare.waiting import waiting

COMPARISON_FILE = "comparison.json"

#: What is done with timed runs that would share cores: nothing, or they are marked.
SHARES = ("refuse", "mark")


@dataclass
class Sweep:
    """Cells in the order in which they run, and where they leave their records."""

    name: str
    folder: Path
    tracking: Tracking
    outputs: Path
    baseline: str | None
    parity: Parity
    criteria: Criteria = field(default_factory=Criteria)
    cells: list[Cell] = field(default_factory=list)
    parent: str | None = None
    #: Cells that another cell stands for already, with the execution of that one.
    left_out: list[tuple[Cell, str]] = field(default_factory=list)
    #: What the machine does at best, for each number of threads.
    peaks: list[Peak] = field(default_factory=list)
    #: The command line that asks for this sweep.
    command: str = ""
    #: What is run again of an earlier command of the same name, and what is taken up of it.
    retry: str = "failed"
    #: What is done with timed runs that would share cores.
    shared_cores: str = "refuse"
    resumption: Resumption = field(default_factory=Resumption)

    @property
    def cells_to_run(self) -> list[Cell]:
        return [cell for cell in self.cells if not cell.done]

    @property
    def again(self) -> str:
        """The command line that takes this sweep up."""
        named = f"sweep.name={self.name}"
        return self.command if named in self.command.split() else f"{self.command} {named}"

    def baseline_of(self, runs: Sequence[Run]) -> str | None:
        """The baseline, if it has a good run."""
        good = {run.engine for run in runs if run.record.ok}
        return self.baseline if self.baseline in good else None

    def write(self) -> None:
        """Write the listing from which a report is made, before and after the runs."""
        cells = [*(cell.listing() for cell in self.cells), *self.resumption.kept]
        attempts = [run for cell in cells for run in (*cell.get("superseded", ()), cell["run"])]
        listing = {
            "name": self.name,
            "written_ms": now_ms(),
            "command": self.command,
            "baseline": self.baseline,
            "compare": asdict(self.criteria),
            "parent": self.parent,
            "peaks": [peak.to_json() for peak in self.peaks],
            "runs": attempts,
            "cells": cells,
        }
        write_json(self.folder / SWEEP_FILE, listing)


class Watch:
    """Sees each run end in the parent: shows it, and hands it to tracking."""

    def __init__(self, sweep: Sweep, display: Display) -> None:
        self.sweep = sweep
        self.display = display
        #: The record of every run that has ended.
        self.seen: dict[str, RunRecord] = {}
        #: Told of every event of a run; may raise ``launch.Pruned``.
        self.pruner: Callable[[str, dict[str, Any]], None] | None = None
        #: Whether tracking waits for the end, as it would disturb runs that are timed meanwhile.
        self.tracks_later = False
        self._untracked: list[tuple[Cell, RunRecord]] = []
        self._tracker: Any = None

    def begin(self, spec: RunSpec) -> None:
        """A run is about to start."""
        self.display.begin(spec)

    def event(self, run: str, event: dict[str, Any]) -> None:
        """A run that goes on wrote an event."""
        self.display.event(run, event)
        if self.pruner:
            self.pruner(run, event)

    def ended(self, cell: Cell, record: RunRecord) -> None:
        if cell.run not in self.seen:
            self.display.end(cell.run, cell.label, record)
        self.seen[cell.run] = record
        if self.tracks_later:
            self._untracked.append((cell, record))
        else:
            self._track(cell, record)

    def track_rest(self) -> None:
        """Track what had to wait."""
        self.tracks_later = False
        while self._untracked:
            self._track(*self._untracked.pop(0))

    def _track(self, cell: Cell, record: RunRecord) -> None:
        if self.sweep.tracking.name == "none" or cell.spec is None:
            return
        from fwcompare.tracker import Tracker

        if self._tracker is None:
            made = self.sweep
            self._tracker = Tracker(made.tracking, made.outputs, self.display.console, made.name)
            made.parent = self._tracker.begin_sweep(record.started_ms)
            with said(SWEEP_FILE, self.display.console):
                made.write()
        self._tracker.log_run(self.sweep.folder / cell.run, self.sweep.parent)

    def finish(self, runs: Sequence[Run], comparisons: Sequence[Comparison]) -> None:
        """Close the sweep in MLflow, with what it has come to."""
        if self._tracker is not None:
            from fwcompare.conclusion import conclude

            made = self.sweep
            try:
                conclusion = conclude(made.folder, runs, comparisons)
            except RequestError as error:  # the folder is lost
                text = f"MLflow is not told of the end: {error.message}"
                self.display.console.print(Text(text, style="yellow"), soft_wrap=True)
                return
            made.parent = self._tracker.end_sweep(made.folder, made.parent, conclusion)


@dataclass(frozen=True)
class Ended:
    """A sweep that has ended, and what it has come to."""

    sweep: Sweep
    comparisons: tuple[Comparison, ...]
    #: What engines resolved by themselves, where their runs had native semantics.
    audits: tuple[Audit, ...]
    #: Runs by status; empty where none has ended.
    counts: dict[str, int]
    #: The report as a page; None where there is nothing to report, or it could not be written.
    page: Path | None = None
    #: Whether it was stopped before all its cells had ended.
    stopped: bool = False

    @property
    def failed(self) -> bool:
        """Whether a run did not end well."""
        return bool(set(self.counts) - set(NO_FAILURES))


#: Makes comparisons of the runs of a sweep; told whether it was stopped.
Judge = Callable[[Watch, Sequence[Run], bool, launch.WarmPool], tuple[Comparison, ...]]

#: Who takes a sweep that has ended; None: it is shown, and a failure is an exit code.
_receiver: ContextVar[Callable[[Ended], None] | None] = ContextVar("receiver", default=None)


@contextmanager
def handed_to(receiver: Callable[[Ended], None]) -> Iterator[None]:
    """Sweeps begun in this context are handed over at their end, neither shown nor exiting."""
    token = _receiver.set(receiver)
    try:
        yield
    finally:
        _receiver.reset(token)


def sweep(config: Any, cells: Sequence[Sequence[str]], loader: Any) -> None:
    """Run the cells of a multirun by its launcher, and compare.

    Every cell is composed and checked first; a cell that its engine cannot do becomes a row.

    Raises:
        RequestError: something asked for is wrong; nothing has been run.
        SystemExit: with 1, after the comparison, if a run failed and nobody takes the sweep.
    """
    gc.enable()
    console = stderr()
    launcher = launchers.chosen(config.hydra)
    made = plan(config, cells, loader, elsewhere=launcher.elsewhere)
    room = room_for(made, launcher)
    for cell, kept in made.left_out:
        console.print(
            f"{cell.label}: left out, as {cell.spec.execution if cell.spec else ''} is the same "
            f"as {kept} in this engine: one cell",
            style="dim",
        )
    with folder_written(made.folder):
        made.folder.mkdir(parents=True, exist_ok=True)
    with claimed(made.folder, f"The sweep {made.name}"):
        _run(made, launcher, room, console)


def _run(made: Sweep, launcher: Launcher, room: Room, console: Console) -> None:
    made.resumption = take_up(made.cells, made.folder, made.retry)
    if taken_up := made.resumption.words(len(made.cells)):
        console.print(f"Sweep {made.name}: {taken_up}", style="dim", soft_wrap=True)
    for remark in dict.fromkeys(cell.remark for cell in made.cells_to_run if cell.remark):
        console.print(Text(f"Warning: {remark}", style="yellow"), soft_wrap=True)
    announce(launcher, room, made, console)
    recovery.announce(made.outputs, console)
    if not launcher.elsewhere:
        with waiting(console, "Measuring the machine's peak ..."):
            made.peaks = peaks(made)
    prepare(made)
    watch = Watch(made, Display(console, len(made.cells_to_run)))
    watch.tracks_later = disturbs(made, launcher, room)
    with lived(watch):
        run_cells(watch, launcher)


def room_for(made: Sweep, launcher: Launcher) -> Room:
    """How many runs go on at a time.

    Raises:
        RequestError: they would share cores while they are timed, or the launcher cannot be used.
    """
    threads = max((cell.spec.cores for cell in made.cells if cell.spec), default=1)
    room = launcher.room(threads, len(made.cells))
    shared = shared_by_runs(made, launcher, room)
    if made.criteria.timed and shared and made.shared_cores == "refuse":
        instead = room.hint if not room.own_cores else "Run one at a time (hydra/launcher=basic)"
        raise RequestError(
            f"hydra/launcher={launcher.name} would time runs that share {shared} ({room.words}), "
            "and none of them would be told how fast it is.",
            f"{instead}, or compare scores alone: compare.measure=accuracy. "
            "sweep.shared_cores=mark times them all the same, and says so in the comparison.",
        )
    return room


def shared_by_runs(made: Sweep, launcher: Launcher, room: Room) -> str:
    """What runs that go on at a time would share; empty where each has its own."""
    if not room.own_cores:
        return "cores"
    here = not launcher.elsewhere and room.at_once != 1
    if here and any(cell.spec and cell.spec.device.name == "cuda" for cell in made.cells):
        return "a GPU"
    return ""


def announce(launcher: Launcher, room: Room, made: Sweep, console: Console) -> None:
    """Say how many runs go on at a time, and what that means for their times."""
    if room.at_once == 1 and launcher.name in ("basic", "joblib"):
        return
    console.print(f"Launcher {launcher.name}: {room.words}.", style="dim", soft_wrap=True)
    if made.criteria.timed and (shared := shared_by_runs(made, launcher, room)):
        text = f"Warning: runs that share {shared} are timed; the comparison will call them noisy."
        console.print(Text(text, style="yellow"), soft_wrap=True)


def disturbs(made: Sweep, launcher: Launcher, room: Room) -> bool:
    """Whether work in this process would disturb runs that are being timed."""
    return made.criteria.timed and not launcher.elsewhere and room.at_once != 1


@contextmanager
def lived(watch: Watch, judge: Judge | None = None) -> Iterator[None]:
    """The time in which the runs of a sweep are made; what they have come to is told at its end.

    Raises:
        SystemExit: with 1, after the comparison, if a run failed and nobody takes the sweep.
    """
    stopped = True
    try:
        with watch.display:
            yield
        stopped = False
    finally:
        ended = finish(watch, stopped, judge)
        receive = _receiver.get()
        (receive or show)(ended)
    if ended.failed and receive is None:
        raise SystemExit(1)


def peaks(made: Sweep) -> list[Peak]:
    """The machine's peak for each number of threads to be run, measured anew: a machine that is
    shared or hot does less than it did yesterday. Of others, what was measured then."""
    devices = {cell.spec.device for cell in made.cells_to_run if cell.spec is not None}
    threads = sorted({device.threads for device in devices if device.name == "cpu"})
    found = [peak for number in threads if (peak := measure(number)) is not None]
    return found + [p for p in read_peaks(made.folder / SWEEP_FILE) if p.threads not in threads]


def prepare(made: Sweep) -> None:
    """Write down what is to be run. Raises ``RequestError`` where that is hindered."""
    with folder_written(made.folder):
        for cell in made.cells_to_run:
            own = made.folder / cell.run
            own.mkdir(parents=True, exist_ok=True)
            if cell.spec is not None:
                cell.spec.write(own / SPEC_FILE)
        made.write()


@contextmanager
def folder_written(folder: Path) -> Iterator[None]:
    """Turn what hinders writing into a ``RequestError``."""
    try:
        yield
    except OSError as error:
        raise RequestError(
            f"The sweep folder {folder} cannot be written: {error.strerror or error}.",
            "Make room there, or choose another folder with paths.outputs=FOLDER.",
        ) from error


def run_cells(watch: Watch, launcher: Launcher) -> None:
    """Refuse what cannot be done, and have the rest run; whatever a launcher does, every cell that
    it was given has a record afterwards."""
    made = watch.sweep
    for cell in made.cells_to_run:
        if cell.spec is None:
            watch.ended(cell, _refuse(made.folder / cell.run, cell))
    runnable = {cell.run: cell for cell in made.cells_to_run if cell.spec is not None}
    if not runnable:
        return
    hearer = _Hearer(watch, runnable)
    jobs = [Job(cell.spec, made.folder / run) for run, cell in runnable.items() if cell.spec]
    try:
        launcher.run(jobs, hearer)
    except RequestError:
        raise
    except Exception as error:  # whatever an engine raises, what it has run counts
        text = f"The launcher gave up: {type(error).__name__}: {error}"
        watch.display.console.print(Text(hidden(text), style="yellow"), soft_wrap=True)
    for run in runnable:
        if run not in watch.seen:
            hearer.ended(run, None)
    watch.track_rest()


class _Hearer:
    """Hands on what a launcher tells, by cells; a cell without a record gets one."""

    def __init__(self, watch: Watch, cells: dict[str, Cell]) -> None:
        self._watch, self._cells = watch, cells
        self.begin, self.event = watch.begin, watch.event

    def ended(self, run: str, record: RunRecord | None, reason: str = "") -> None:
        cell, folder = self._cells[run], self._watch.sweep.folder / run
        self._watch.ended(cell, record or _collected(folder, cell, reason))


def finish(watch: Watch, stopped: bool = False, judge: Judge | None = None) -> Ended:
    """Compare what there is, write it, track it. A sweep that was stopped proves nothing anew."""
    made, console = watch.sweep, watch.display.console
    watch.tracks_later = False
    for cell in made.cells_to_run:
        launch.recover(made.folder / cell.run)
        cut_off = RunRecord.read(made.folder / cell.run)
        if cut_off is not None and cell.run not in watch.seen:
            watch.ended(cell, cut_off)
    watch.track_rest()
    runs = with_peak_shares(_runs(made, watch), made.peaks)
    if not runs:
        return Ended(made, (), (), {}, stopped=stopped)
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.record.status] = counts.get(run.record.status, 0) + 1
    kept: Path = made.outputs / "proofs"
    audits: list[Audit] = []
    with launch.WarmPool() as pool:
        comparisons = (judge or proven)(watch, runs, stopped, pool)
        comparisons = weighed(comparisons, runs, made.peaks)
        with said(COMPARISON_FILE, console):
            write_text(made.folder / COMPARISON_FILE, report.as_json(comparisons), durable=False)
        if made.parity.in_sweep and not stopped:
            audits = audit_runs(runs, made.parity.precision, kept, console, pool)
    with said(AUDITS_FILE, console):
        write_json(made.folder / AUDITS_FILE, [a.to_json() for a in audits], durable=False)
        made.write()
    page = _page(made, runs, comparisons, console)
    watch.finish(runs, comparisons)
    native = any(run.spec and not run.spec.aligned for run in runs)
    return Ended(made, comparisons, tuple(audits) if native else (), counts, page, stopped)


def proven(
    watch: Watch, runs: Sequence[Run], stopped: bool, pool: launch.WarmPool
) -> tuple[Comparison, ...]:
    """The runs compared, with what proofs say of them; a sweep that was stopped proves nothing
    anew."""
    made, console = watch.sweep, watch.display.console
    kept = made.outputs / "proofs"
    proofs = prove_runs(runs, made.parity, kept, console, pool, fresh=not stopped)
    with said(PROOFS_FILE, console):
        entries = [proof.to_json() for proof in proofs]
        write_json(made.folder / PROOFS_FILE, entries, durable=False)
    standings = {proof.key: proof.standing for proof in proofs}
    return compare(runs, made.name, made.baseline_of(runs), standings, made.criteria)


def _runs(made: Sweep, watch: Watch) -> list[Run]:
    """Every run that has ended: from its folder or, where that is lost, as it was seen."""
    if not (made.folder / SWEEP_FILE).exists():  # somebody has removed the folder meanwhile
        with said(SWEEP_FILE, watch.display.console):
            made.folder.mkdir(parents=True, exist_ok=True)
            made.write()
    try:
        return [*load_runs(made.folder), *_unwritten(made, watch)]
    except RequestError as error:
        text = f"{error.message} What was seen is compared."
        watch.display.console.print(Text(text, style="yellow"), soft_wrap=True)
    return [
        load_run(made.folder / cell.run, record, cell.listing(), cell.spec)
        for cell in made.cells
        if (record := watch.seen.get(cell.run)) is not None
    ]


def _unwritten(made: Sweep, watch: Watch) -> Iterator[Run]:
    """The runs whose records no disk would take."""
    for cell in made.cells:
        folder, record = made.folder / cell.run, watch.seen.get(cell.run)
        if record is not None and RunRecord.read(folder) is None:
            yield load_run(folder, record, cell.listing(), cell.spec)


@contextmanager
def said(what: str, console: Console) -> Iterator[None]:
    """A disk that is full costs what is written in here, and that is said."""
    try:
        yield
    except OSError as error:
        text = f"{what} was not written: {error.strerror or error}"
        console.print(Text(text, style="yellow"), soft_wrap=True)


def _page(
    made: Sweep, runs: Sequence[Run], comparisons: Sequence[Comparison], console: Console
) -> Path | None:
    """Write the report as a page. Whatever goes wrong costs the page alone."""
    from fwcompare.page import evidence, html  # Plotly takes long to import

    try:
        found = evidence.gather(made.folder, runs, comparisons)
        return html.write(found, made.folder / html.PAGE_FILE)
    except Exception as error:  # a full disk, or records that no figure was made for
        console.print(Text(f"No page was written: {error!r}", style="yellow"), soft_wrap=True)
        return None


def show(ended: Ended) -> None:
    """Show the comparison, and where everything lies."""
    made, console = ended.sweep, stdout()
    if ended.stopped or ended.failed:
        ok, beside = ended.counts.get("ok", 0), stderr()
        total = len(made.cells) + len(made.resumption.kept)
        beside.print(Text(f"{ok} of {total} cells are done. To run the rest:"), soft_wrap=True)
        beside.print(Text(f"  {made.again}"), soft_wrap=True)
    if not ended.counts:
        return
    report.show(ended.comparisons, console)
    for audit in ended.audits:
        table.show(audit, console, everything=False)
    console.print(f"\nRuns and records: {made.folder}", style="dim", soft_wrap=True)
    if ended.page:
        console.print(f"The report as a page: {ended.page}", style="dim", soft_wrap=True)
    console.print(f"Again, without training: fwcompare report {made.name}", style="dim")
    if made.parent:
        console.print("In MLflow: fwcompare ui", style="dim")


def plan(
    config: Any,
    cells: Sequence[Sequence[str]],
    loader: Any,
    name: str | None = None,
    elsewhere: bool = False,
) -> Sweep:
    """Compose and check every cell, and put them in order; ``name`` stands for ``sweep.name``.

    What runs ``elsewhere`` is not held against this machine's cores and memory.

    Raises:
        RequestError: a cell is wrong in a way that is not its engine's limit.
    """
    base = configuration(config)
    base.elsewhere = elsewhere
    node = base.section("sweep")
    name = name or str(node.get("name") or new_name(config))
    require_name(name, "sweep.name")
    options = base.compare
    made = [_cell(config, list(overrides), loader, base, name) for overrides in cells]
    if not made:
        raise RequestError(
            "There is nothing to run: an option of this sweep has no value.",
            "A range ends before its second number: 'seed=range(0,3)' is 0, 1, 2.",
        )
    baseline = options.baseline or made[0].engine
    engines = {cell.engine for cell in made}
    if baseline not in engines:
        raise RequestError(
            f"compare.baseline={baseline} is not among the engines of this sweep: "
            f"{', '.join(sorted(engines))}."
        )
    retry = retries(str(node.get("retry")))
    shared_cores = shares(str(node.get("shared_cores")))
    folder = base.outputs / "sweeps" / name
    made, left_out = _without_twins(made)
    if options.control:
        made += _controls(made, baseline)
    ordered = list(in_order(made, name))
    return Sweep(
        name, folder, base.tracking, base.outputs, baseline, base.parity, options.criteria,
        ordered,
        left_out=left_out,
        command=command(config.hydra),
        retry=retry,
        shared_cores=shared_cores,
    )  # fmt: skip


def shares(asked: str) -> str:
    """Check ``sweep.shared_cores``. Raises ``RequestError``."""
    if asked not in SHARES:
        raise unknown("sweep.shared_cores", asked, SHARES)
    return asked


def command(hydra: Any) -> str:
    """The command line that asks for what Hydra was asked for, without passwords in addresses."""
    options = ["-m"] if "hydra.mode=MULTIRUN" in hydra.overrides.hydra else []
    if hydra.job.config_name != CONFIG_NAME:
        options += ["-cn", str(hydra.job.config_name)]
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            options += ["--config-dir", source.path]
    own = [given for given in hydra.overrides.hydra if given != "hydra.mode=MULTIRUN"]
    given = [*options, *own, *hydra.overrides.task]
    return shlex.join(["fwcompare", *map(hidden, given)])


def _without_twins(cells: Sequence[Cell]) -> tuple[list[Cell], list[tuple[Cell, str]]]:
    """Leave out a cell whose execution is the very same as that of another cell of the sweep."""
    kept: dict[tuple[str, str, int], str] = {}
    chosen, left_out = [], []
    for cell in cells:
        if cell.spec is None:
            chosen.append(cell)
            continue
        asked = cell.spec.execution
        same = front(cell.engine).same_execution.get(asked, asked)
        key = (cell.spec.group, cell.spec.but(execution=same).arm, cell.seed)
        if key in kept:
            left_out.append((cell, kept[key]))
        else:
            kept[key] = asked
            chosen.append(cell)
    return chosen, left_out


def _controls(cells: Sequence[Cell], baseline: str) -> list[Cell]:
    """The baseline once more in every seed and problem: what two equal arms look like."""
    own = [cell for cell in cells if cell.engine == baseline and cell.spec is not None]
    found = []
    for cell in own:
        assert cell.spec and own[0].spec
        if cell.spec.arm == own[0].spec.arm:
            run = new_run_id(cell.engine, cell.spec.model.name, cell.seed)
            found.append(replace(cell, run=run, spec=cell.spec.but(run=run), control=True))
    return found


def in_order(cells: Sequence[Cell], name: str) -> Iterator[Cell]:
    """Block after block, each in random order: a block holds the arms of one seed and problem.

    The order is drawn from the sweep's name, so it can be told afterwards.
    """
    blocks: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        rest = [o for o in cell.overrides if o.lstrip("+").split("=")[0] not in ARM_OPTIONS]
        blocks.setdefault(tuple(rest), []).append(cell)
    shuffle = random.Random(name)
    for block in sorted(blocks.values(), key=lambda block: block[0].seed):
        shuffle.shuffle(block)
        yield from block


def new_name(config: Any) -> str:
    chosen = config.hydra.runtime.choices.get("experiment")
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return f"{chosen}-{stamp}" if chosen not in (None, "null") else f"sweep-{stamp}"


def _cell(config: Any, overrides: list[str], loader: Any, base: Configuration, sweep: str) -> Cell:
    asked = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    engine = asked.get("framework", base.engine)
    seed = _seed(asked.get("seed", base.cfg.get("seed")))
    # A choice of the zoo is named as its model.
    model = asked.get("model") or asked.get("zoo") or base.section("model").get("name")
    run = new_run_id(engine, str(model), seed)
    cell = Cell(overrides, engine, seed, run)
    try:
        composed = configuration(loader.load_sweep_config(config, overrides))
        composed.elsewhere = base.elsewhere
        plan = composed.plan()
        cell.engine, cell.seed = plan.spec.framework.name, plan.spec.seed
        cell.spec, cell.remark = plan.spec.but(run=run, sweep=sweep), plan.remark
    except Exception as error:
        refusal = unsupported_cell(error)
        if refusal is None:
            wrong = translate(error, overrides)
            if isinstance(wrong, RequestError):
                shown = " ".join(o for o in overrides if not o.startswith("hydra."))
                raise RequestError(f"In the cell '{shown}': {wrong.message}", wrong.hint) from error
            raise
        cell.refusal = hidden(str(refusal).replace("\n", " "))
    return cell


def _seed(given: object) -> int:
    """A seed as it was given; 0 for what is none, which is said where it is checked."""
    text = str(given)
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _refuse(folder: Path, cell: Cell) -> RunRecord:
    now = now_ms()
    return launch.kept(RunRecord(cell.run, "unsupported", cell.refusal, now, now), folder)


def _collected(folder: Path, cell: Cell, reason: str) -> RunRecord:
    """The record of a run whose job left none."""
    record = launch.recover(folder) or RunRecord.read(folder)
    if record is None:
        now = now_ms()
        why = reason or "the launcher's worker left no record"
        record = launch.kept(RunRecord(cell.run, "killed", why, now, now), folder)
    return record
