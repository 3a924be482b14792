"""A real sweep ends in a page, which MLflow gets too."""

from __future__ import annotations


def test_a_sweep_leaves_its_page(cli, tmp_path):
    ended = cli(
        "-m", "framework=pytorch", "seed=0,1", "sweep.name=s", "model=logistic", "dataset=digits",
        "trainer.epochs=1", "device.threads=1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    page = tmp_path / "outputs/sweeps/s/report.html"
    assert f"The report as a page: {page}" in ended.stdout
    text = page.read_text(encoding="utf-8")
    assert "fwcompare -m framework=pytorch seed=0,1 sweep.name=s model=logistic" in text
    (tracked,) = (tmp_path / "outputs").glob("mlflow-artifacts/**/report.html")
    assert tracked.read_text(encoding="utf-8") == text
