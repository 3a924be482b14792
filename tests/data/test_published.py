"""Published datasets from files that the tests make: served, given in a folder, spoilt."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data import download, published
from fwcompare.data.batches import DataFolder
from fwcompare.data.prepare import prepare
from fwcompare.data.published import Published
from fwcompare.data.texts import Imdb
from fwcompare.errors import RequestError

FLOAT = np.dtype("float32")
PICTURES: dict[str, Any] = {
    "folder": None, "val_fraction": 0.25, "normalize": "unit", "split_seed": 3,
}  # fmt: skip
REVIEWS: dict[str, Any] = {
    "folder": None, "val_fraction": 0.25, "normalize": "none", "split_seed": 3, "steps": 8,
    "tokenizer": "words", "vocabulary": 50,
}  # fmt: skip
PARAMS = {"mnist": PICTURES, "cifar10": PICTURES, "cifar100": PICTURES, "imdb": REVIEWS}


def tar(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.astype(np.uint8).tobytes())


def pixels(samples: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(samples).integers(0, 256, (samples, *shape)).astype(np.uint8)


def cifar(samples: int, classes: int, labels: int) -> bytes:
    """Records as CIFAR has them, the label that counts in the last place."""
    planes = pixels(samples, (3 * 32 * 32,))
    given = np.stack([np.arange(samples) % classes] * labels, axis=1).astype(np.uint8)
    return np.concatenate([given, planes], axis=1).tobytes()


def reviews() -> dict[str, bytes]:
    found = {"aclImdb/README": b"about", "aclImdb/train/unsup/0_0.txt": b"neither"}
    for part, count in (("train", 12), ("test", 6)):
        for number in range(count):
            kind = ("neg", "pos")[number % 2]
            text = f"A {('dull', 'fine')[number % 2]} film, no. {number}.<br /><br />The end"
            found[f"aclImdb/{part}/{kind}/{number}_7.txt"] = text.encode()
    return found


CIFAR10 = {
    **{f"cifar-10-batches-bin/data_batch_{n}.bin": cifar(8, 3, 1) for n in range(1, 6)},
    "cifar-10-batches-bin/test_batch.bin": cifar(6, 3, 1),
    "cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\nbird\n\n",
}
CIFAR100 = {
    "cifar-100-binary/train.bin": cifar(20, 4, 2),
    "cifar-100-binary/test.bin": cifar(8, 4, 2),
    "cifar-100-binary/fine_label_names.txt": b"apple\nbear\nclock\ndolphin\n",
    "cifar-100-binary/coarse_label_names.txt": b"fruit\n",
}

Files = dict[str, dict[str, bytes]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Small files in the place of the published ones, by dataset and name."""
    found: Files = {"mnist": {}}
    mnist = {}
    for part, size in (("train", 40), ("test", 12)):
        contents = idx(pixels(size, (28, 28))), idx(np.arange(size) % 10)
        files = []
        for old, content in zip(published.MNIST[part], contents, strict=True):
            found["mnist"][old.name] = content
            files.append(described(old.name, content))
        mnist[part] = tuple(files)
    monkeypatch.setattr(published, "MNIST", mnist)
    from fwcompare.data import pictures

    for name, members, source in (
        ("cifar10", CIFAR10, pictures.Cifar10),
        ("cifar100", CIFAR100, pictures.Cifar100),
    ):
        file = source.archive.name
        found[name] = {file: tar(members)}
        monkeypatch.setattr(source, "archive", described(file, found[name][file]))
    file = published.IMDB.name
    found["imdb"] = {file: tar(reviews())}
    monkeypatch.setattr(published, "IMDB", described(file, found["imdb"][file]))
    return found


def described(name: str, content: bytes) -> Published:
    return Published(name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def serve(site: Any, made: Files, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a dataset on the second of two mirrors; the first has nothing."""

    def put(name: str) -> None:
        mirrors = f"{site.url}/none/", f"{site.url}/data/"
        monkeypatch.setitem(published.MIRRORS, name, mirrors)
        site.files |= {f"/data/{file}": content for file, content in made[name].items()}

    return put


@pytest.mark.parametrize("name", PARAMS)
def test_it_is_fetched_once_from_the_mirror_that_has_it(
    tmp_path: Path, site: Any, serve: Callable[[str], None], name: str
) -> None:
    serve(name)
    site.break_after = 300  # the transfer goes on where it broke off
    first = prepare(name, PARAMS[name], 0, tmp_path)
    assert any(wanted == "bytes=300-" for _, wanted in site.requests)
    asked = len(site.requests)
    site.files.clear()
    again = prepare(name, {**PARAMS[name], "split_seed": 4}, 0, tmp_path)
    assert len(site.requests) == asked
    assert again.meta["sizes"] == first.meta["sizes"]
    assert first.meta["source"] and first.meta["licence"]
    assert [path.suffix for path in (tmp_path / "datasets").rglob("*.part")] == []


@pytest.mark.parametrize("name", PARAMS)
def test_a_folder_needs_no_network(tmp_path: Path, made: Files, name: str) -> None:
    for file, content in made[name].items():
        (tmp_path / file).write_bytes(content)
    params = {**PARAMS[name], "folder": str(tmp_path)}
    look(name, prepare(name, params, 0, tmp_path / "cache", offline=True))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imdb"])
def test_what_an_archive_holds_may_be_given_as_well(tmp_path: Path, made: Files, name: str) -> None:
    (archive,) = made[name].values()
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(tmp_path, filter="data")
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    whole = prepare(name, {**PARAMS[name], "folder": str(folder)}, 0, tmp_path / "cache")
    look(name, whole)
    (tmp_path / next(iter(made[name]))).write_bytes(archive)
    other = shutil.move(folder, tmp_path / "elsewhere")
    packed = prepare(name, {**PARAMS[name], "folder": str(tmp_path)}, 0, tmp_path / "cache")
    assert packed.meta["digest"] == whole.meta["digest"]
    assert other


def look(name: str, found: DataFolder) -> None:
    """The arrays are those that were made."""
    train, test = (found.split(part, FLOAT) for part in ("train", "test"))
    if name == "mnist":
        assert found.meta["sizes"] == {"train": 30, "val": 10, "test": 12}
        expected = pixels(12, (28, 28))[..., np.newaxis] / 255
        np.testing.assert_allclose(test.inputs, expected, rtol=1e-6)
        np.testing.assert_array_equal(test.targets, np.arange(12) % 10)
    elif name == "imdb":
        assert found.meta["sizes"] == {"train": 9, "val": 3, "test": 6}
        assert found.meta["classes"] == ["negative", "positive"]
        words = found.tokenizer["vocabulary"]  # type: ignore[index]
        assert {"dull", "fine"} <= set(words)
        for inputs, label in zip(train.inputs, train.targets, strict=True):
            assert words.index(("dull", "fine")[label]) + 1 in inputs
        assert "br" not in words and "neither" not in words
    else:
        samples, classes = (40, 3) if name == "cifar10" else (20, 4)
        assert sum(found.meta["sizes"][part] for part in ("train", "val")) == samples
        assert found.input_shape == (32, 32, 3)
        assert len(found.meta["classes"]) == classes
        size = found.size("test")
        planes = pixels(size, (3 * 32 * 32,)).reshape(size, 3, 32, 32)
        expected = np.moveaxis(planes, 1, 3) / 255
        np.testing.assert_allclose(test.inputs, expected, rtol=1e-6)
        np.testing.assert_array_equal(test.targets, np.arange(size) % classes)


@pytest.mark.parametrize("name", PARAMS)
def test_another_file_is_refused_by_its_digest(
    tmp_path: Path, site: Any, serve: Callable[[str], None], made: Files, name: str
) -> None:
    serve(name)
    file, content = next(iter(made[name].items()))
    changed = bytes([content[-1] ^ 1])
    for wrong in (content[:-1] + changed, content + b"more", b""):
        site.files[f"/data/{file}"] = wrong
        with pytest.raises(RequestError, match="is not the published") as caught:
            prepare(name, PARAMS[name], 0, tmp_path)
        assert "HTTP 404" in caught.value.message
        assert "dataset.params.folder" in (caught.value.hint or "")
        left = [path for path in (tmp_path / "datasets").rglob("*") if path.is_file()]
        assert [path.name for path in left] == [f"{name}.lock"]


@pytest.mark.parametrize("name", PARAMS)
def test_offline_it_says_where_the_file_belongs(
    tmp_path: Path, site: Any, serve: Callable[[str], None], made: Files, name: str
) -> None:
    serve(name)
    with pytest.raises(RequestError, match=r"paths\.offline is on") as caught:
        prepare(name, PARAMS[name], 0, tmp_path, offline=True)
    assert site.requests == []
    place = tmp_path / "datasets" / "downloads" / name
    assert str(place) in caught.value.message
    assert "FWCOMPARE_OFFLINE=0" in (caught.value.hint or "")
    place.mkdir(parents=True)
    for file, content in made[name].items():
        (place / file).write_bytes(content)
    prepare(name, PARAMS[name], 0, tmp_path, offline=True)
    assert site.requests == []


def test_a_file_that_decayed_is_told_offline(tmp_path: Path, made: Files) -> None:
    place = tmp_path / "datasets" / "downloads" / "cifar10"
    place.mkdir(parents=True)
    ((file, content),) = made["cifar10"].items()
    (place / file).write_bytes(content[:-4])
    with pytest.raises(RequestError, match=r"is not the published .* paths\.offline is on"):
        prepare("cifar10", PICTURES, 0, tmp_path, offline=True)


@pytest.mark.parametrize("name", ["mnist", "imdb"])
def test_a_disk_without_room_is_told_before_anything_comes(
    tmp_path: Path, site: Any, serve: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    serve(name)
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: full)
    with pytest.raises(RequestError, match=r"needs .* MiB in .* 0\.0 MiB are free") as caught:
        prepare(name, PARAMS[name], 0, tmp_path)
    assert "paths.cache" in (caught.value.hint or "")
    assert list((tmp_path / "datasets").rglob("*.part")) == []


def test_a_cut_off_record_is_told(tmp_path: Path, made: Files) -> None:
    for name, content in CIFAR100.items():
        (tmp_path / Path(name).name).write_bytes(content)
    (tmp_path / "train.bin").write_bytes(cifar(20, 4, 2)[:-1])
    with pytest.raises(RequestError, match=r"train\.bin of cifar100 is cut off"):
        prepare("cifar100", {**PICTURES, "folder": str(tmp_path)}, 0, tmp_path / "cache")


def test_a_review_that_is_long_is_cut_and_a_short_one_filled_up() -> None:
    found = Imdb(0.1, "none", 1, None, 4, "bytes", 10)._samples(["abcdef", "xy"], tokens())
    np.testing.assert_array_equal(found, [[97, 98, 99, 100], [120, 121, 0, 0]])


def tokens() -> Any:
    from fwcompare.data.tokenizers import Bytes

    return Bytes()
