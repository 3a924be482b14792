"""Each check of a trainer passes on one that keeps the contract and fails on one that does not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fwcompare.conformance.bench import Bench, Breach
from fwcompare.conformance.checks import CHECKS
from fwcompare.conformance.trial import make_run, optimizer, small_data
from fwcompare.plugin import open_job
from fwcompare.spec import Scheduler

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from numpy_engine import NumpyTrainer


def dense(name, units):
    return {"name": name, "kind": "dense", "units": units, "bias": False}


def dropout(name, rate):
    return {"name": name, "kind": "dropout", "rate": rate, "inputs": ["input"]}


CONSTANT = Scheduler("constant")
TRAINED = [dropout("drop", 0.25), dense("logits", 3)]
DROPPED = [
    dropout("one", 0.5),
    dropout("two", 0.5),
    {"name": "both", "kind": "concat", "inputs": ["one", "two"]},
    dense("mean", 1),
]


def bench_of(root, trainer, check):
    """A small experiment that the check is made for."""
    if check in ("masks", "masks of steps", "seeds"):
        data = small_data(root / "data", (400,), 1, task="regression")
        options = {"task": "regression", "optimizer": optimizer("momentum", lr=1e-30)}
        layers, training = DROPPED, {"epochs": 24, "batch_size": 64}
    elif check in ("steps as they are done", "synchronize waits", "nothing between epochs"):
        data = small_data(root / "data", (256,), 3, samples=512)
        options = {"optimizer": optimizer("momentum", lr=1e-3)}
        layers, training = [dense("first", 512), dense("logits", 3)], {"epochs": 5}
    else:
        data = small_data(root / "data", (5,), 3)
        schedule = Scheduler("cosine", final_factor=0.1) if "given back" in check else CONSTANT
        options = {"optimizer": optimizer("momentum"), "scheduler": schedule}
        layers = TRAINED
        training = {"epochs": 3, "batch_size": 24, "drop_last": False, "max_steps": 8}
    spec, folder = make_run(root, "pytorch", layers, data, training=training, **options)
    job, data = open_job(spec, folder)
    return Bench(trainer, job, data.split("test", spec.dtype).inputs, folder)


@pytest.mark.parametrize("check", CHECKS)
def test_an_engine_that_keeps_the_contract_passes(check, tmp_path):
    CHECKS[check](bench_of(tmp_path, NumpyTrainer, check))


class StepsTwice(NumpyTrainer):
    def train(self, ids):
        self.probe.step()
        return super().train(ids)

    def fit(self, feed, probe):
        self.probe = probe
        super().fit(feed, probe)


class SkipsTheLastEpoch(NumpyTrainer):
    def fit(self, feed, probe):
        super().fit(feed.part(feed.first_step, feed.steps_per_epoch), probe)


class BeginsTwice(NumpyTrainer):
    def fit(self, feed, probe):
        probe.epoch_begin(1)
        super().fit(feed, probe)


class Through:
    """A probe that passes everything on, to be changed in one thing."""

    def __init__(self, probe):
        self.epoch_begin, self.step, self.epoch_end = (
            probe.epoch_begin, probe.step, probe.epoch_end,
        )  # fmt: skip


class FetchesAtOnce(NumpyTrainer):
    def fit(self, feed, probe):
        through = Through(probe)
        through.epoch_end = lambda losses: probe.epoch_end(losses())
        super().fit(feed, through)


class MeansAlone(NumpyTrainer):
    """Never the losses of steps."""

    def fit(self, feed, probe):
        through = Through(probe)
        through.epoch_end = lambda losses: probe.epoch_end(lambda: losses()[:1])
        super().fit(feed, through)


class UnweightedMean(NumpyTrainer):
    """The mean over batches, though the last is smaller."""

    def fit(self, feed, probe):
        through = Through(probe)
        if not self.job.spec.measure.step_losses:
            through.epoch_end = lambda losses: probe.epoch_end(lambda: losses().mean())
        super().fit(feed, through)


class StartsItsSlotsAnew(NumpyTrainer):
    def fit(self, feed, probe):
        self.velocity = {name: np.zeros_like(a) for name, a in self.velocity.items()}
        super().fit(feed, probe)


class StartsItsScheduleAnew(NumpyTrainer):
    def fit(self, feed, probe):
        self.rates, self.step = (0.05 * 0.5 ** np.arange(feed.step_count)).tolist(), 0
        super().fit(feed, probe)


class LosesItsSlots(NumpyTrainer):
    def restore(self, state):
        super().restore(state)
        self.velocity = {name: np.zeros_like(array) for name, array in self.velocity.items()}


class LosesItsPlaceInTheSchedule(NumpyTrainer):
    def restore(self, state):
        super().restore(state)
        self.step = 0


class LosesItsRandomState(NumpyTrainer):
    def restore(self, state):
        random = self.random
        super().restore(state)
        self.random = random
        self.random.random(3)


class LendsItsState(NumpyTrainer):
    def state(self):
        return {**super().state(), **{f"velocity/{n}": a for n, a in self.velocity.items()}}

    def train(self, ids):
        kept = dict(self.velocity)
        loss = super().train(ids)
        for name, array in kept.items():
            array[...] = self.velocity[name]
            self.velocity[name] = array
        return loss


class OpaqueState(NumpyTrainer):
    def state(self):
        return {**super().state(), "random/generator": np.array([self.random])}


class StaysInEvaluationMode(NumpyTrainer):
    def predict(self, inputs):
        self.drop = lambda values, rate, random: values
        return super().predict(inputs)


class DrawsFromTheSameStream(NumpyTrainer):
    """A look in training mode moves dropout on."""

    def activations(self, inputs, training):
        self.random.random(3)
        return super().activations(inputs, training)


class LearnsFromALook(NumpyTrainer):
    def gradients(self, inputs, targets):
        loss, found = super().gradients(inputs, targets)
        for name, gradient in found.items():
            self.velocity[name] += gradient
        return loss, found


class LendsItsMemory(NumpyTrainer):
    def weights(self):
        return self.tensors

    def train(self, ids):
        before = dict(self.tensors)
        loss = super().train(ids)
        for name, array in before.items():
            array[...] = self.tensors[name]
            self.tensors[name] = array
        return loss


class TransposesOnExport(NumpyTrainer):
    def weights(self):
        return {name: array.T.copy() for name, array in self.tensors.items()}


class ExportsHalves(NumpyTrainer):
    def weights(self):
        return {name: array.astype(np.float32) for name, array in self.tensors.items()}


class ForgetsATensor(NumpyTrainer):
    def weights(self):
        return {}


class LooksAtTheBatch(NumpyTrainer):
    def predict(self, inputs):
        return super().predict(inputs - inputs.mean(0))


class PredictsInFloat32(NumpyTrainer):
    def predict(self, inputs):
        return super().predict(inputs).astype(np.float32)


class OpaqueFacts(NumpyTrainer):
    def facts(self):
        return {**super().facts(), "compilations": np.int64(1)}


class SilentFacts(NumpyTrainer):
    def facts(self):
        return {"device": "cpu"}


class MemoryInWords(NumpyTrainer):
    def peak_device_bytes(self):
        return "2 GiB"


class SettingsOfNobody(NumpyTrainer):
    def settings(self):
        return {**super().settings(), "nobody": {"rate": 0.5}}


class AnotherRate(NumpyTrainer):
    def settings(self):
        return {"optimizer": {"lr": 0.1234}}


class DrawsFlat(NumpyTrainer):
    def draw(self):
        return {name: array.ravel() for name, array in super().draw().items()}


class TrainsOnADraw(NumpyTrainer):
    def draw(self):
        self.tensors = super().draw()
        return self.tensors


class OneEpochOfBatches(NumpyTrainer):
    def batches(self, feed):
        return super().batches(feed.part(0, feed.steps_per_epoch))


class WarmsUpOnItsBatches(NumpyTrainer):
    def batches(self, feed):
        self.velocity = {name: array + 1 for name, array in self.velocity.items()}
        return super().batches(feed)


class TellsAtTheEnd(NumpyTrainer):
    """All steps of an epoch in one, as a scan over its batches would be."""

    def fit(self, feed, probe):
        for epoch in feed.epochs:
            probe.epoch_begin(epoch)
            losses = [self.train(ids) for ids in feed.batches(epoch)]
            for _ in losses:
                probe.step()
            probe.epoch_end(lambda losses=losses: np.array(losses))


class Queues(NumpyTrainer):
    """Steps are queued, and done when their losses are asked for."""

    def fit(self, feed, probe):
        for epoch in feed.epochs:
            probe.epoch_begin(epoch)
            queue = feed.batches(epoch)
            for _ in queue:
                probe.step()
            probe.epoch_end(lambda queue=queue: np.array([self.train(ids) for ids in queue]))


class EvaluatesByItself(NumpyTrainer):
    def fit(self, feed, probe):
        through = Through(probe)

        def begin(epoch):
            for _ in range(5):  # longer than a busy machine makes the steps
                self.predict(np.array(self.job.train.inputs))
            probe.epoch_begin(epoch)

        through.epoch_begin = begin
        super().fit(feed, through)


class DropsLess(NumpyTrainer):
    """A tenth less often than asked, scaled as if not."""

    def drop(self, inputs, rate, random):
        kept = super().drop(inputs, 0.9 * rate, random)
        return kept if random is None else kept * (1 - 0.9 * rate) / (1 - rate)


class DoesNotScale(NumpyTrainer):
    def drop(self, inputs, rate, random):
        return super().drop(inputs, rate, random) * (1 if random is None else 1 - rate)


class DropsInEvaluation(NumpyTrainer):
    def drop(self, inputs, rate, random):
        return super().drop(inputs, rate, random or np.random.default_rng(0))


class OneMaskForABatch(NumpyTrainer):
    def drop(self, inputs, rate, random):
        if random is None:
            return inputs
        return inputs * (random.random(inputs.shape[1:]) >= rate) / (1 - rate)


class OneMaskForAllLayers(NumpyTrainer):
    def drop(self, inputs, rate, random):
        return super().drop(inputs, rate, random and np.random.default_rng(7))


class OneMaskForAllSteps(NumpyTrainer):
    def train(self, ids):
        self.random = np.random.default_rng(0)
        return super().train(ids)


class NeverDrops(NumpyTrainer):
    """In training, though ``activations`` does."""

    def train(self, ids):
        self.random = None
        return super().train(ids)


class DropsMoreInTraining(NumpyTrainer):
    def drop(self, inputs, rate, random):
        return super().drop(inputs, 1.3 * rate if random is self.random else rate, random)


class DrawsAnew(NumpyTrainer):
    def __init__(self, job):
        super().__init__(job)
        self.random = np.random.default_rng()


class KnowsNoSeed(NumpyTrainer):
    def __init__(self, job):
        super().__init__(job)
        self.random = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("check", "broken", "said"),
    [
        ("calls in turn", StepsTwice, "6 steps of 3"),
        ("calls in turn", SkipsTheLastEpoch, "was none, due was epoch_begin in epoch 2"),
        ("calls in turn", BeginsTwice, "before epoch 1 ended"),
        ("calls in turn", FetchesAtOnce, "not a callable"),
        ("losses of steps", MeansAlone, "gave 1 numbers with step_losses=true"),
        ("losses of steps", UnweightedMean, "'epoch 1' differs"),
        ("fit goes on", StartsItsSlotsAnew, "logits/kernel"),
        ("fit goes on", StartsItsScheduleAnew, "logits/kernel"),
        ("evaluation leaves training alone", StaysInEvaluationMode, "with evaluation"),
        ("evaluation leaves training alone", DrawsFromTheSameStream, "with evaluation"),
        ("looking changes nothing", LearnsFromALook, "after gradients: 'logits/kernel.momentum'"),
        ("weights are canonical copies", LendsItsMemory, "after training"),
        ("weights are canonical copies", TransposesOnExport, "[3, 5]"),
        ("weights are canonical copies", ExportsHalves, "float32"),
        ("weights are canonical copies", ForgetsATensor, "same names: logits/kernel"),
        ("predictions by sample", LooksAtTheBatch, "one by one"),
        ("predictions by sample", PredictsInFloat32, "float32"),
        ("facts are plain", OpaqueFacts, "not JSON-able"),
        ("facts are plain", SilentFacts, "'execution'"),
        ("facts are plain", MemoryInWords, "'2 GiB'"),
        ("state is given back", LosesItsSlots, "in one: 'logits/kernel"),
        ("state is given back", LosesItsPlaceInTheSchedule, "'logits/kernel' differs"),
        ("state is given back", LendsItsState, "before and after more training"),
        ("state is given back", OpaqueState, "not an array of numbers"),
        ("random state is given back", LosesItsRandomState, "in one: 'logits/kernel"),
        ("settings are told", SettingsOfNobody, "speaks of nobody"),
        ("settings are told", AnotherRate, "learning rate as 0.1234"),
        ("settings are told", DrawsFlat, "draw()"),
        ("settings are told", TrainsOnADraw, "settings and draw"),
        ("batches are those of fit", OneEpochOfBatches, "batches of a feed of"),
        ("batches are those of fit", WarmsUpOnItsBatches, "training behind batches"),
        ("steps as they are done", TellsAtTheEnd, "not told of each step"),
        ("synchronize waits", Queues, "does not wait for the device"),
        ("nothing between epochs", EvaluatesByItself, "something is evaluated"),
        ("masks", DropsLess, "share kept at rate 0.5"),
        ("masks", DoesNotScale, "scaled by 1"),
        ("masks", DropsInEvaluation, "not the identity in evaluation mode"),
        ("masks", OneMaskForABatch, "all samples have the same mask"),
        ("masks", OneMaskForAllLayers, "kept by both of one and two"),
        ("masks of steps", OneMaskForAllSteps, "a mask was used again"),
        ("masks of steps", NeverDrops, "the same loss"),
        ("masks of steps", DropsMoreInTraining, "mean squared error"),
        ("masks of steps", DropsInEvaluation, "without dropout they are 1"),
        ("seeds", DrawsAnew, "the same seed gave other masks"),
        ("seeds", KnowsNoSeed, "another seed gave the same masks"),
    ],
)
def test_an_engine_that_breaks_it_is_caught(check, broken, said, tmp_path):
    with pytest.raises(Breach) as caught:
        CHECKS[check](bench_of(tmp_path, broken, check))
    assert said in str(caught.value)
