"""The device that a run would take, as a tool that the tests make tells it."""

from __future__ import annotations

import pytest

from fwcompare import gpu

DEVICE = "NVIDIA H100 80GB HBM3, GPU-3f, 580.159.04, 81559"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Writes what ``nvidia-smi`` says, to be the only one there is; returns what it was asked."""
    path = tmp_path / "nvidia-smi"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def says(*lines: str, code: int = 0):
        said = "".join(f"echo '{line}'\n" for line in lines)
        path.write_text(f'#!/bin/sh\necho "$@" > asked\n{said}exit {code}\n')
        path.chmod(0o755)
        return tmp_path / "asked"

    return says


def test_the_first_visible_device_is_described(tool, monkeypatch):
    asked = tool(DEVICE, "another, GPU-4, 580, 1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert gpu.present()
    assert gpu.described() == {
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-3f",
        "driver": "580.159.04",
        "memory_mib": 81559,
    }
    assert asked.read_text().startswith("-i 1 --query-gpu=")


@pytest.mark.parametrize("visible", ["", "-1", "-1,0", "NoDevFiles"])
def test_hidden_devices_are_none(tool, monkeypatch, visible):
    asked = tool(DEVICE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert not gpu.present()
    assert gpu.described() is None and gpu.free_bytes() is None
    assert not asked.exists()


@pytest.mark.parametrize(
    ("lines", "code"), [((), 0), (("No devices were found",), 6), (("a, b",), 0)]
)
def test_a_tool_that_does_not_tell(tool, lines, code):
    tool(*lines, code=code)
    assert gpu.described() is None and gpu.free_bytes() is None


def test_memory_that_is_not_told(tool):
    """Some systems share their memory with the device and name no size."""
    tool("GB10, GPU-5, 580, [N/A]")
    found = gpu.described()
    assert found is not None and found["memory_mib"] is None
    assert gpu.free_bytes() is None
