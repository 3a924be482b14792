"""What every engine's worker is given alike: cores, threads, and memory that is not hoarded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwcompare import launch, testing
from fwcompare.plugin import front, installed
from fwcompare.worker import CORES

#: What stops a framework from taking most of a GPU's memory at its start, by distribution. PyTorch
#: takes memory as it is asked for.
NO_PREALLOCATION = {
    "jax": ("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),
    "tensorflow": ("TF_FORCE_GPU_ALLOW_GROWTH", "true"),
}


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """The same small run in every engine."""
    root = tmp_path_factory.mktemp("environment")
    data = testing.small_data(root / "data", (4,), 3)
    layers = [{"name": "logits", "kind": "dense", "units": 3}]
    sgd = testing.optimizer("sgd")
    return {
        name: testing.make_run(root, name, layers, data, optimizer=sgd)[0] for name in installed()
    }


@pytest.mark.parametrize("engine", sorted(installed()))
def test_memory_is_not_preallocated(engine, specs, monkeypatch):
    """Also where the user's own environment asks for it."""
    for variable, _ in NO_PREALLOCATION.values():
        monkeypatch.setenv(variable, "contrary")
    own = launch.environment(specs[engine], front(engine))
    needed = [v for name, v in NO_PREALLOCATION.items() if name in front(engine).requirements]
    assert needed or "torch" in front(engine).requirements
    for variable, value in needed:
        assert own[variable] == value


@pytest.mark.parametrize("threads", [1, 2])
def test_cores_and_threads_are_the_same_for_all(specs, threads):
    """Nothing that an engine adds may change them."""
    from dataclasses import replace

    names = (*launch.thread_environment(threads), CORES)
    found = {}
    for engine, spec in specs.items():
        own = launch.environment(
            spec.but(device=replace(spec.device, threads=threads)), front(engine)
        )
        found[engine] = {name: own[name] for name in names}
    first = next(iter(found.values()))
    assert all(own == first for own in found.values()), found
    assert first["OMP_NUM_THREADS"] == str(threads)
    assert len(first[CORES].split(",")) == min(threads, len(launch.worker_cores(threads)))


@pytest.mark.parametrize("engine", ["jax", "keras_jax"])
def test_xla_rounds_no_factor_in_float64_on_a_gpu(engine, specs, monkeypatch):
    """One of its passes would take the momentum times a float32; the user's own flags stay."""
    monkeypatch.setenv("XLA_FLAGS", "--own")
    spec = specs[engine]
    assert "XLA_FLAGS" not in front(engine).environment(spec)
    cuda = spec.but(device=replace(spec.device, name="cuda"))
    flags = front(engine).environment(cuda)["XLA_FLAGS"]
    assert flags.split()[0] == "--own" and "--xla_disable_hlo_passes=" in flags
    assert "XLA_FLAGS" not in front(engine).environment(cuda.but(precision="float32"))
