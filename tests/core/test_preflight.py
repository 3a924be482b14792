"""What a run is expected to need, by hand; and when it is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fwcompare import capacity, memory, testing
from fwcompare.capacity import Capacity
from fwcompare.duration import Duration, Machine, step_flops, step_seconds
from fwcompare.errors import RequestError, UnsupportedError
from fwcompare.footprint import BEYOND_IMAGE, Footprint, Keep
from fwcompare.graph import Graph
from fwcompare.memory import Setting
from fwcompare.preflight import (
    Preflight,
    Subject,
    beyond_32_bits,
    count_words,
    hopeless,
    judge,
    size_words,
)

LAYERS = [
    {"name": "flat", "kind": "flatten"},
    {"name": "hidden", "kind": "dense", "units": 4},
    {"name": "act", "kind": "activation", "function": "relu"},
    {"name": "logits", "kind": "dense", "units": 2},
]
GRAPH = Graph.from_layers((3, 1, 1), LAYERS)
PARAMETERS = (3 * 4 + 4) + (4 * 2 + 2)
ADAM = Setting("adam", batch_size=8, weight_bytes=4, number_bytes=4)
#: An engine that takes nothing but what it computes with.
BARE = Footprint(base_mib=0, slack=1, data=1)


def stack(channels: list[int], side: int = 4) -> Graph:
    """Convolutions of a kernel of 3x3, without a bias."""
    layers = [
        {"name": f"conv{i}", "kind": "conv2d", "filters": n, "kernel_size": 3, "bias": False}
        for i, n in enumerate(channels, 1)
    ]
    return Graph.from_layers((side, side, 1), layers)


def subject(graph: Graph, setting: Setting = ADAM, data_bytes: int = 0) -> Subject:
    return Subject("model", graph, setting, 100, data_bytes)


def test_no_engine_does_without_weights_gradients_slots_and_what_enters_a_kernel():
    flat, hidden, act, logits = memory.least(GRAPH, ADAM)
    assert (flat.bytes, act.bytes) == (0, 0)
    assert (hidden.weights, hidden.inputs) == (16 * 4 * 4, 8 * 3 * 4)
    assert (logits.weights, logits.inputs) == (10 * 4 * 4, 8 * 4 * 4)
    sgd = list(memory.least(GRAPH, Setting("sgd", 8, 4, 4)))
    assert sgd[1].weights == 16 * 4 * 2


def test_an_input_that_two_layers_keep_is_counted_once():
    graph = Graph.from_layers(
        (3,),
        [
            {"name": "a", "kind": "dense", "units": 3},
            {"name": "b", "kind": "dense", "units": 3},
            {"name": "c", "kind": "dense", "units": 3, "inputs": ["a"]},
            {"name": "sum", "kind": "add", "inputs": ["b", "c"]},
        ],
    )
    assert [need.inputs for need in memory.least(graph, ADAM)] == [96, 96, 0, 0]


def test_what_is_expected_of_a_step_by_hand():
    found = memory.expected(GRAPH, ADAM, BARE, data_bytes=1000)
    numbers = PARAMETERS * 4
    assert (found.weights, found.gradients, found.slots) == (numbers, numbers, 2 * numbers)
    assert (found.copies, found.data, found.base) == (numbers, 1000, 0)
    batch, hidden, act, logits = 8 * 3 * 4, 8 * 4 * 4, 8 * 4 * 4, 8 * 2 * 4
    assert found.batch == batch
    # The hidden layer's output is gone once relu, which keeps its own, has been computed.
    assert found.kept == batch + act + logits
    # Backward through the last layer: what was kept, the loss's shares, the gradient of the
    # outputs and that of relu's output.
    last = batch + act + logits + 2 * logits + act
    # Through relu: the last layer has let go of the gradient of its output.
    middle = last - logits + hidden
    assert found.step == max(last, middle)
    assert found.above_base == 4 * numbers + 1000 + found.step + numbers


def test_what_a_layer_keeps_is_its_engines_word():
    plain = memory.expected(GRAPH, ADAM, BARE, 0)
    generous = Footprint(
        base_mib=0, slack=1, data=1, keeps={"relu": Keep(input=True, output=True, marks=1)}
    )
    found = memory.expected(GRAPH, ADAM, generous, 0)
    assert found.kept - plain.kept == 8 * 4 * 4 + 8 * 4
    assert memory.expected(GRAPH, ADAM, Footprint(base_mib=7), 0).base == 7 * 2**20


def test_what_gives_back_its_input_takes_neither_memory_nor_time():
    def graph(*between: dict) -> Graph:
        return Graph.from_layers((3, 1, 1), [*LAYERS[:3], *between, LAYERS[3]])

    plain = graph()
    nothing = graph(
        {"name": "drop", "kind": "dropout", "rate": 0.0},
        {"name": "none", "kind": "activation", "function": "linear"},
    )
    some = graph({"name": "drop", "kind": "dropout", "rate": 0.5})
    machine, sgd = Machine(1e6, 1e6), testing.optimizer("sgd")
    still = Footprint(base_mib=0, slack=1, data=1, layer_us=0)

    def found(which: Graph) -> tuple[int, int, float]:
        expected = memory.expected(which, ADAM, still, 0)
        return expected.step, expected.kept, step_seconds(which, sgd, 8, 4, machine, still)

    assert found(nothing) == found(plain)
    assert all(more > less for more, less in zip(found(some), found(plain), strict=True))


def test_an_element_wise_layer_in_place_never_holds_both_of_its_tensors():
    conv = {"name": "conv", "kind": "conv2d", "filters": 2, "kernel_size": 3, "bias": False}
    act = {"name": "act", "kind": "activation", "function": "relu"}
    graph = Graph.from_layers((4, 4, 1), [conv, act])
    batch, image = 8 * 16 * 4, 8 * 16 * 2 * 4
    for in_place, images in ((False, 4), (True, 3)):
        takes = Footprint(base_mib=0, slack=1, data=1, in_place=in_place)
        # Relu's output; the loss keeps a share and gives a gradient; relu's own.
        assert memory.expected(graph, ADAM, takes, 0).step == batch + images * image


def test_a_layer_may_keep_its_input_turned_and_work_aside_while_going_back():
    layers = [
        {"name": "conv", "kind": "conv2d", "filters": 2, "kernel_size": 3, "bias": False},
        {"name": "pool", "kind": "max_pool2d", "pool_size": [2, 2], "stride": [2, 2]},
    ]
    graph = Graph.from_layers((4, 4, 1), layers)
    image = 8 * 16 * 2 * 4

    def expected(**keep: float) -> memory.Memory:
        keeps = {"max_pool2d": Keep(input=True, output=True, **keep)}
        return memory.expected(graph, ADAM, Footprint(base_mib=0, slack=1, data=1, keeps=keeps), 0)

    plain, turned, busy = expected(), expected(turned=1.5), expected(work=3.0)
    assert turned.kept - plain.kept == turned.step - plain.step == 1.5 * image
    assert (busy.kept, busy.step) == (plain.kept, plain.step + 3 * image)


def test_loops_of_a_compiled_program_take_memory_by_themselves():
    layers = [
        {"name": "l", "kind": "lstm", "units": 2, "bidirectional": True},
        {"name": "d", "kind": "dropout", "rate": 0.5},
        {"name": "none", "kind": "dropout", "rate": 0.0},
    ]
    graph = Graph.from_layers((7, 3), layers)
    keeps = {"lstm": Keep(loops=3), "dropout": Keep(loops=1)}
    takes = Footprint(layer_kib=1, loop_kib=100, keeps=keeps)
    program = memory.expected(graph, ADAM, takes, 0).program
    assert program == (3 + (2 * 3 + 1) * 100) * 1024


def test_an_allocator_holds_on_to_twice_its_largest_block_at_most():
    graph = stack([2])
    image = 8 * 16 * 2 * 4
    bare = memory.expected(graph, ADAM, BARE, 0).step
    for held_mib, held in ((0, 0), (1, 2 * image), (image / 2**20, image)):
        takes = Footprint(base_mib=0, slack=1, data=1, held_mib=held_mib)
        assert abs(memory.expected(graph, ADAM, takes, 0).step - bare - held) < 2**11


def test_an_attention_keeps_its_scores_where_it_is_not_fused():
    graph = Graph.from_layers((5, 8), [{"name": "a", "kind": "multi_head_attention", "heads": 2}])
    without, scored = (
        memory.expected(graph, ADAM, Footprint(slack=1, scores=scores), 0).kept
        for scores in (0.0, 2.0)
    )
    assert scored - without == 2 * (5 * 5 * 2) * 8 * 4


def test_half_precision_halves_what_layers_keep_and_nothing_else():
    whole = memory.expected(GRAPH, ADAM, BARE, 0)
    half = memory.expected(GRAPH, Setting("adam", 8, 4, 2), BARE, 0)
    assert half.weights == whole.weights and half.slots == whole.slots
    assert half.kept - whole.batch == (whole.kept - whole.batch) // 2


def test_numbers_are_exact_at_any_size():
    wide = 10**80
    graph = stack([wide, wide + 1])
    assert graph.parameter_count == 9 * wide + 9 * wide * (wide + 1)
    needs = [need.weights for need in memory.least(graph, ADAM)]
    assert needs == [16 * 9 * wide, 16 * 9 * wide * (wide + 1)]
    assert memory.expected(graph, ADAM, BARE, 0).gradients == 4 * graph.parameter_count
    assert step_flops(graph, testing.optimizer("sgd"), 8) == (
        8 * 2 * 16 * 9 * (2 * wide + 3 * wide * (wide + 1)) + 2 * graph.parameter_count
    )
    astronomic = stack([10**400])
    machine = Machine(1e11, 1e10)
    seconds = step_seconds(astronomic, testing.optimizer("sgd"), 8, 4, machine, BARE)
    assert seconds == math.inf


def test_the_time_of_a_step_by_hand():
    machine = Machine(flops_per_s=1e6, copy_bytes_per_s=1e6)
    footprint = Footprint(step_us=1000, layer_us=10, shares={"product": 0.5}, copy_share=0.5)
    seconds = step_seconds(GRAPH, testing.optimizer("sgd"), 8, 4, machine, footprint)
    hidden, logits = 2 * 3 * 4 + 4, 2 * 4 * 2 + 2
    products = 8 * (2 * hidden + 3 * logits) / 0.5e6
    moved = 5 * 8 * 4 * 4 + PARAMETERS * 4 * 4  # relu, and the update
    assert seconds == pytest.approx(1e-3 + 4 * 10e-6 + products + moved / 0.5e6)
    whole = Duration(step_s=2.0, steps_per_epoch=3, steps=6, start_s=1.0)
    assert (whole.epoch_s, whole.whole_s) == (6.0, 13.0)


def test_windows_are_gathered_but_for_those_of_one_cell():
    def seconds(size: int, footprint: Footprint) -> float:
        conv = {"name": "c", "kind": "conv2d", "filters": 5, "kernel_size": size, "bias": False}
        graph = Graph.from_layers((4, 4, 3), [conv])
        machine = Machine(1e12, 1e12)
        return step_seconds(graph, testing.optimizer("sgd"), 8, 4, machine, footprint)

    gathered = Footprint(window_ns=1000)
    # Forward and for the kernel's gradient, of 16 windows of 9 cells of 3 channels in 8 samples.
    assert seconds(3, gathered) - seconds(3, Footprint()) == pytest.approx(2 * 8 * 16 * 27 * 1e-6)
    assert seconds(1, gathered) == seconds(1, Footprint())


def test_a_kernel_larger_than_the_image_has_a_share_of_its_own():
    def seconds(side: int, share: float) -> float:
        footprint = Footprint(shares={"product": 0.5, BEYOND_IMAGE: share})
        graph = stack([8, 8], side)
        return step_seconds(graph, testing.optimizer("sgd"), 8, 4, Machine(1e6, 1e12), footprint)

    assert seconds(2, 0.05) > 5 * seconds(2, 0.5)
    assert seconds(3, 0.05) == seconds(3, 0.5)


def test_steps_of_a_sequence_cost_by_themselves():
    graph = Graph.from_layers(
        (7, 3), [{"name": "l", "kind": "lstm", "units": 2, "bidirectional": True}]
    )
    machine, sgd = Machine(1e12, 1e12), testing.optimizer("sgd")
    times = [
        step_seconds(graph, sgd, 1, 4, machine, Footprint(sequence_us=cost)) for cost in (0, 1000)
    ]
    assert times[1] - times[0] == pytest.approx(2 * 7 * 1e-3)


# ------------------------------------------------------------------------------- the judgement

MODEL = subject(stack([8, 16, 32]))
#: Weights, gradients and two slots of the three layers, and what enters them.
THREE = [9 * 8 * 16 + 8 * 16 * 4, 9 * 8 * 16 * 16 + 8 * 16 * 8 * 4, 9 * 16 * 32 * 16]


def test_what_fits_is_passed_over_in_silence():
    assert judge(MODEL, "e", BARE, Capacity(2**30, "there is")).fits == "yes"
    assert judge(MODEL, "e", BARE, None).fits == "yes"


def test_the_first_layer_that_cannot_fit_is_named_with_its_size():
    verdict = judge(MODEL, "e", BARE, Capacity(sum(THREE[:2]) + 100, "there is"))
    assert verdict.fits == "never" and isinstance(verdict.error, RequestError)
    assert "'conv3'" in verdict.message and "4,608 parameters of 18.0 KiB" in verdict.message
    assert "2 slots 72.0 KiB" in verdict.message
    assert "'conv2' is the last before it that would" in verdict.message
    first = judge(MODEL, "e", BARE, Capacity(10, "there is"))
    assert "'conv1'" in first.message and "last before" not in first.message


def test_a_batch_that_would_fit_is_found():
    large = MODEL.but(batch_size=1000)
    needed = large.expected(BARE).peak
    verdict = judge(large, "e", BARE, Capacity(needed // 2, "there is"))
    batch = int(verdict.hint.partition("trainer.batch_size=")[2].partition(".")[0])
    assert 1 <= batch < 1000

    def peak(n: int) -> int:
        return MODEL.but(batch_size=n).expected(BARE).peak

    assert peak(batch) <= 0.8 * (needed // 2) < peak(batch + 1)


def test_a_depth_that_would_fit_is_found():
    channels = [8, 16, 32, 64, 128, 256]

    def shallower(depth: int) -> Graph:
        return stack(channels[:depth])

    deep = subject(stack(channels))
    there = Capacity(subject(stack(channels[:4])).expected(BARE).peak * 5 // 4 + 10, "there is")
    verdict = judge(deep, "e", BARE, there, 6, shallower)
    assert verdict.fits == "never" and "model.params.depth=4." in verdict.hint


@pytest.mark.parametrize(
    ("share", "fits"), [(2.0, "yes"), (1.3, "yes"), (1.1, "tight"), (0.9, "tight"), (0.7, "no")]
)
def test_an_engine_that_takes_too_much_is_one_that_cannot(share, fits):
    """An estimate is not exact, so near the limit there is a warning and no refusal."""
    heavy = Footprint(base_mib=100)
    expected = MODEL.expected(heavy).peak
    verdict = judge(MODEL, "heavy", heavy, Capacity(round(expected * share), "there is"))
    assert verdict.fits == fits
    assert bool(verdict.message) == (fits != "yes")
    if fits == "no":
        assert isinstance(verdict.error, UnsupportedError)
        assert "in heavy, there is" in verdict.message


def test_dimensions_beyond_64_bits_are_refused_whoever_knows_better():
    wide = subject(stack([2**63]))
    assert hopeless(wide) and not hopeless(MODEL)
    verdict = judge(wide, "e", BARE, None)
    assert verdict.fits == "never" and "'conv1'" in verdict.message
    assert "2**63 - 1" in verdict.message and "preflight.mode" not in verdict.hint
    # Each dimension is countable, the bytes of all are not.
    assert hopeless(subject(stack([2**31, 2**31])))


def test_tensors_beyond_32_bits_are_told():
    assert beyond_32_bits(MODEL) is None
    layer = beyond_32_bits(subject(stack([2**14, 2**15])))
    assert layer is not None and layer.name == "conv2"
    large = MODEL.but(batch_size=2**23)
    assert beyond_32_bits(large).name == "conv2"


def test_options():
    assert Preflight("warn", None).capacity(lambda: Capacity(5, "x")) == Capacity(5, "x")
    stated = Preflight("refuse", 1.5).capacity(lambda: pytest.fail("not to be looked for"))
    assert stated == Capacity(3 * 2**19, "preflight.memory_mib allows")
    with pytest.raises(RequestError, match="Unknown preflight"):
        Preflight("off", None)
    with pytest.raises(RequestError, match="more than 0"):
        Preflight("warn", 0.0)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1536, "1.5 KiB"),
        (16 * 2**30, "16.0 GiB"),
        (10**30, "8.67e11 EiB"),
    ],
)
def test_sizes_in_words(size, words):
    assert size_words(size) == words


def test_counts_in_words():
    assert count_words(68_707_091_368) == "68,707,091,368"
    # Python itself does not write out so many digits.
    assert count_words(3 * 10**5000) == "3.00e5000"
    assert size_words(10**5000) == "8.67e4981 EiB"


# --------------------------------------------------------------------------------- what there is


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = "MemTotal: 900 kB\nMemAvailable:     500 kB\n"


def test_a_machine_has_what_is_available(tmp_path):
    found = capacity.of_machine(tree(tmp_path, {"proc/meminfo": MEMINFO}))
    assert found == Capacity(500 * 1024, "this machine has available")


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/a/job\n", {"a/memory.max": "9000", "a/memory.current": "8000",
                         "a/memory.stat": "anon 1\ninactive_file 500\n",
                         "a/job/memory.max": "max", "a/job/memory.current": "8000"}),
        ("3:cpu,memory:/job\n", {"memory/job/memory.limit_in_bytes": "9000",
                                 "memory/job/memory.usage_in_bytes": "8000",
                                 "memory/job/memory.stat": "total_inactive_file 500\n"}),
    ],
    ids=["version 2, of the group around", "version 1"],
)  # fmt: skip
def test_a_container_has_what_its_limit_leaves(tmp_path, groups, files):
    made = {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups}
    made |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    assert capacity.of_machine(tree(tmp_path, made)) == Capacity(1500, "this container has left")


def test_a_system_that_does_not_tell(tmp_path):
    assert capacity.of_machine(tmp_path) is None


def test_this_machine_has_some_memory():
    found = capacity.of_machine()
    assert found is not None and 2**24 < found.bytes < 2**50


def test_a_gpu_has_what_its_driver_says(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$@" > asked\necho 81089\necho 5\n')
    tool.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    found = capacity.of_device("cuda")
    assert found == Capacity(81089 * 2**20, "the GPU has free")
    assert "-i 1 --query-gpu=memory.free" in (tmp_path / "asked").read_text()
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert capacity.of_device("cuda") is None


def room_for(found: Subject, batch_size: int) -> Capacity:
    """Enough for so many samples of a batch, and for no more."""
    return Capacity(found.but(batch_size=batch_size).expected(BARE).peak * 5 // 4 + 1, "allows")


def test_each_of_several_processes_is_told_of_the_whole_batch():
    two = replace(subject(GRAPH), shares=2).but(batch_size=64)
    assert "trainer.batch_size=10." in judge(two, "x", BARE, room_for(two, 5)).hint


def test_every_copy_of_a_model_adds_its_weights():
    setting = replace(ADAM, batch_size=64)
    mirrored = replace(setting, replicas=3)
    one, three = (memory.expected(GRAPH, each, BARE, 0) for each in (setting, mirrored))
    assert (three.weights, three.gradients) == (3 * one.weights, 3 * one.gradients)
    assert (three.slots, three.step) == (3 * one.slots, one.step)
    needs, more = (list(memory.least(GRAPH, each)) for each in (setting, mirrored))
    assert [need.weights for need in more] == [3 * need.weights for need in needs]
    found = subject(GRAPH, mirrored)
    assert "trainer.batch_size=9." in judge(found, "x", BARE, room_for(found, 11)).hint
