"""From the command line: what will not fit is refused before any work, and can be looked at."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

import fwcompare
from fwcompare.compose import compose
from fwcompare.errors import RequestError, UnsupportedError
from fwcompare.plugin import footprint, front, installed
from fwcompare.record import RunRecord

#: Little enough for a model of some thousands of weights to be too much, whatever the engine.
NOTHING = "preflight.memory_mib=0.1"


def test_the_article_s_network_is_refused_before_any_work(cli, tmp_path):
    ended = cli("model=article_full", "framework=pytorch", "preflight.memory_mib=20000")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "'stage4/conv13' (conv2d, 1×1×16,384)" in ended.stderr
    assert "1,207,975,936 parameters of 4.5 GiB" in ended.stderr
    assert "deepest prefix that fits here is model.params.depth=12" in ended.stderr
    assert not list(tmp_path.rglob("spec.json"))


def test_the_depth_that_is_named_would_run(cache):
    asked = ["model=article_full", f"paths.cache={cache}", "preflight.memory_mib=20000"]
    plan = compose([*asked, "model.params.depth=12", "framework=pytorch"]).plan()
    assert plan.remark == ""
    assert plan.spec.model.graph.layers[-4].name == "stage3/relu11"
    channels = [1, *(2**power for power in range(5, 14))]
    counts = (9 * a * b + b for a, b in pairwise(channels))
    assert plan.spec.model.graph.parameter_count == sum(counts) + 8192 * 10 + 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["model=mlp", NOTHING], ["mlp will not fit", "'dense1'", "preflight.mode=warn"]),
        (["model=mlp", NOTHING, "preflight.mode=skip", "preflight.mod=1"], ["preflight.mod"]),
        (["preflight.mode=off"], ["preflight.mode", "refuse"]),
        (["preflight.memory_mib=-1"], ["preflight.memory_mib", "more than 0"]),
        (["-m", "framework=pytorch,jax", "model=mlp", NOTHING], ["In the cell", "will not fit"]),
        (
            ["model=article_full", "model.params.channels=[99999999999999999999]",
             "model.params.depth=1", "preflight.mode=skip"],
            ["'stage1/conv1'", "2**63 - 1"],
        ),
        (["model=article_full", "model.params.depth=39"], ["channels", "29"]),
        (["model=article_full", f"model.params.channels=[{'9' * 5000}]"], ["digits"]),
    ],
    ids=["too large", "misspelt", "mode", "memory", "sweep", "64 bits", "depth", "digits"],
)  # fmt: skip
def test_one_clear_message(cli, tmp_path, options, words):
    ended = cli(*options, "tracking=none")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr
    assert not list(tmp_path.rglob("spec.json"))


def planned(cache, *options: str):
    given = ["framework=pytorch", "model=mlp", f"paths.cache={cache}", "device.threads=1"]
    return compose([*given, *options]).plan()


def test_who_knows_better_is_warned_or_left_alone(cache):
    remark = planned(cache, NOTHING, "preflight.mode=warn").remark
    assert "will not fit" in remark
    skipped = planned(cache, NOTHING, "preflight.mode=skip")
    assert (skipped.remark, skipped.spec.expected) == ("", {})
    assert planned(cache).remark == ""


def test_memory_that_one_engine_takes_alone_is_its_own_limit(cache):
    """The mathematics fit into a hundred MiB, the process with its framework does not."""
    with pytest.raises(UnsupportedError, match="in pytorch"):
        planned(cache, "preflight.memory_mib=50")
    with pytest.raises(RequestError, match="at least"):
        planned(cache, NOTHING)


def test_tight_memory_is_said_and_the_run_goes_on(cli, tmp_path, cache):
    peak = planned(cache).spec.expected["memory/expected_rss_mib"]
    ended = cli(
        "framework=pytorch", "model=mlp", "trainer.epochs=1", "trainer.max_steps=2",
        "device.threads=1", "tracking=none", f"preflight.memory_mib={peak}",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Warning: memory is tight: the training of mlp" in ended.stderr
    (folder,) = tmp_path.glob("outputs/runs/*")
    record = RunRecord.read(folder)
    assert record is not None and record.metrics["memory/expected_rss_mib"] == peak


def test_python_raises_what_the_command_line_says(cache, tmp_path):
    options = {"paths__cache": cache, "paths__outputs": tmp_path, "tracking": "none"}
    with pytest.raises(RequestError, match="will not fit"):
        fwcompare.run("framework=pytorch", "model=mlp", preflight__memory_mib=0.1, **options)


def test_the_verb_tells_what_needs_how_much(cli):
    ended = cli("preflight", "model=cnn", "--engines", "pytorch,jax", "device.threads=1")
    assert ended.returncode == 0, ended.stderr
    for word in ("gradients", "optimizer, 2 slots", "batch of inputs", "activations", "An epoch of",
                 "Peak with 1 thread", "pytorch", "jax", "yes"):  # fmt: skip
        assert word in ended.stdout, ended.stdout


def test_the_verb_for_programs_is_exact(cli):
    ended = cli("preflight", "framework=jax", "model=article_full", "--format", "json")
    assert ended.returncode == 2, ended.stderr
    told = json.loads(ended.stdout)
    assert told["parameters"] == 28_322_158_089_315_251_786_226
    assert list(told["engines"]) == ["jax"]
    jax = told["engines"]["jax"]
    assert jax["fits"] == "never" and jax["bytes"]["gradients"] == 4 * told["parameters"]


def test_every_engine_of_ours_states_what_it_takes():
    for name in installed():
        assert footprint(front(name)).base_mib > 100


def test_the_verb_marks_engines_that_would_refuse_the_run(cli):
    """Of several processes it tells what one needs: less of a batch, and all of the weights."""
    together = ("distributed=data_parallel", "distributed.processes=2")
    asked = ("--engines", "keras_torch,pytorch", "device.threads=1", "--format", "json")
    found = {}
    for options in (("distributed=none",), together):
        ended = cli("preflight", "model=cnn", *options, *asked)
        assert ended.returncode == 0, ended.stderr
        found[options] = json.loads(ended.stdout)
    one, two = found.values()
    refused = two["engines"]["keras_torch"]
    assert refused["fits"] == "unsupported" and "DistributedDataParallel" in refused["reason"]
    assert one["engines"]["keras_torch"]["fits"] == "yes" and two["processes"] == 2
    alone, each = (told["engines"]["pytorch"]["bytes"] for told in (one, two))
    for name in ("weights", "gradients", "slots", "data"):
        assert each[name] == alone[name]
    assert each["batch"] * 2 == alone["batch"] and each["kept"] < alone["kept"]
    assert two["capacity_bytes"] < one["capacity_bytes"] * 0.75
