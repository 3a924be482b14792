"""Passwords and tokens reach no record, no log, no report and no message."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.table import Table

from fwcompare.secrecy import hidden, is_secret, ordinary
from fwcompare.terminal import plain

SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"postgresql://ann:{SECRET}@db:5432/runs", "postgresql://ann:***@db:5432/runs"),
        (f"see http://ann:p@{SECRET}@host/x now", "see http://ann:***@host/x now"),
        (f"postgresql://ann:p/{SECRET}@host/x", "postgresql://ann:***@host/x"),
        (f"https://{SECRET}@host", "https://***@host"),
        (f"https://host/path?token={SECRET}&a=1", "https://host/path?token=***&a=***"),
        (f"https://host/#access={SECRET}", "https://host/#access=***"),
        (f'tracking.uri="http://a:{SECRET}@h"', 'tracking.uri="http://a:***@h"'),
        (f"password={SECRET} host=h", "password=*** host=h"),
        (f"with url: /x?token={SECRET}&b=1 (Caused by", "with url: /x?token=***&b=*** (Caused by"),
        ("sqlite:////tmp/a@b/mlflow.db", "sqlite:////tmp/***@b/mlflow.db"),
        ("model.params.tokens=16 padding_token=0", "model.params.tokens=16 padding_token=0"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_addresses_lose_their_secrets(text, kept):
    assert SECRET not in hidden(text)
    if "sqlite" not in text:
        assert hidden(text) == kept


def test_the_value_of_a_secret_variable_is_hidden(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert hidden(f"no {SECRET} here") == "no *** here"


def test_a_terminal_is_not_steered():
    held = io.StringIO()
    table = Table("name")
    table.add_row("\x1b]0;owned\x07 a\u202eb")
    table.add_row("[/red] :smile: and more words")
    plain(file=held, width=60).print(table)
    assert "\\x1b]0;owned" in held.getvalue() and "[/red] :smile:" in held.getvalue()
    assert not set(held.getvalue()) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize(
    ("name", "secret"),
    [("MLFLOW_TRACKING_PASSWORD", True), ("MLFLOW_TRACKING_TOKEN", True), ("PGPASSWORD", True),
     ("AWS_SECRET_ACCESS_KEY", True), ("HF_TOKEN", True), ("GITHUB_PAT", True), ("PWD", False),
     ("PATH", False), ("KERAS_BACKEND", False), ("XLA_FLAGS", False), ("OMP_NUM_THREADS", False),
     ("TOKENIZERS_PARALLELISM", False)],
)  # fmt: skip
def test_secrets_are_known_by_their_names(name, secret):
    assert is_secret(name) is secret


def test_a_child_has_no_secrets():
    given = {"HF_TOKEN": SECRET, "DATABASE_URL": f"postgresql://a:{SECRET}@h/d", "HOME": "/home/a"}
    assert ordinary(given) == {"HOME": "/home/a"}


def test_no_file_and_no_output_of_a_run_holds_a_secret(cli, tmp_path):
    """A sweep with secrets wherever they may stand, to a server that does not answer."""
    ended = cli(
        "-m", "framework=pytorch", "model=logistic", "trainer.epochs=1", "device.threads=1",
        "seed=0", "parity.in_sweep=false", "sweep.name=s", "tracking=server",
        f'tracking.uri="http://ann:{SECRET}@127.0.0.1:9/x?token={SECRET}"',
        MLFLOW_TRACKING_PASSWORD=SECRET + "1", AWS_SECRET_ACCESS_KEY=SECRET + "2",
        HTTP_PROXY=f"http://ann:{SECRET}@127.0.0.1:9", NO_PROXY="127.0.0.1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "not told" in ended.stderr and SECRET not in ended.stdout + ended.stderr
    files = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert {"spec.json", "record.json", "worker.log", "sweep.json", "report.html"} <= {
        path.name for path in files
    }
    held = [path for path in files if SECRET.encode() in path.read_bytes()]
    assert not held, held
    assert (
        "ann:***" in json.loads((tmp_path / "outputs/sweeps/s/sweep.json").read_text())["command"]
    )


def test_a_worker_is_started_without_secrets(monkeypatch, cache):
    from fwcompare import launch
    from fwcompare.compose import compose
    from fwcompare.plugin import front

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    spec = compose(["model=logistic", f"paths.cache={cache}"]).plan().spec
    assert SECRET not in launch.environment(spec, front("pytorch")).values()


def test_a_defect_is_told_without_secrets(monkeypatch, capsys):
    from fwcompare import cli

    monkeypatch.setenv("HF_TOKEN", SECRET)
    try:
        raise RuntimeError(f"http://ann:{SECRET}@host and {SECRET}")
    except RuntimeError as error:
        assert cli._fail(error) == cli.DEFECT
    said = capsys.readouterr()
    assert "RuntimeError" in said.err and SECRET not in said.err + said.out
    assert sys.exc_info() == (None, None, None)


def test_an_address_in_hydra_s_spelling_shows_no_password():
    given = r"tracking.uri=postgresql\://me\:secret-word@127.0.0.1\:1/runs"
    assert "secret-word" not in hidden(given)
