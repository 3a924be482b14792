"""A folder of images: classes, sizes, colours, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fwcompare.data import download
from fwcompare.data.batches import SPLITS
from fwcompare.data.prepare import prepare
from fwcompare.errors import RequestError

PARAMS: dict[str, Any] = {
    "size": [8, 8], "colour": "rgb", "resize": "stretch", "val_fraction": 0.1, "test_fraction": 0.2,
    "normalize": "unit", "split_seed": 1,
}  # fmt: skip

RED, BLUE = (255, 0, 0), (0, 0, 255)


def put(path: Path, colour: Any, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty pictures, red ones and blue ones."""
    found = tmp_path / "pictures"
    for number in range(10):
        put(found / "red" / f"{number}.png", RED)
        put(found / "blue" / f"{number}.jpg", BLUE)
    (found / "notes.txt").write_text("not a class")
    (found / "red" / "notes.txt").write_text("not an image")
    return found


def prepared(folder: Path, /, **options: Any) -> Any:
    params = {**PARAMS, "folder": str(folder), **options}
    return prepare("images", params, 0, folder.parent / "cache")


def test_a_folder_is_a_class(folder: Path) -> None:
    found = prepared(folder)
    assert found.meta["classes"] == ["blue", "red"]
    assert found.meta["sizes"] == {"train": 14, "val": 2, "test": 4}
    assert found.input_shape == (8, 8, 3)
    for name in SPLITS:
        split = found.split(name, np.dtype("float32"))
        expected = np.where(split.targets[:, np.newaxis] == 1, [1.0, 0, 0], [0, 0, 1.0])
        np.testing.assert_allclose(split.inputs.mean((1, 2)), expected, atol=0.02)
    left = {path.name for path in (folder.parent / "cache").rglob("*") if path.is_file()}
    arrays = {f"{name}_{letter}.npy" for name in SPLITS for letter in "xy"}
    assert left == {"images.lock", "meta.json"} | arrays


def test_parts_of_its_own_stay_as_they_are(folder: Path) -> None:
    whole = folder.parent / "whole"
    shutil.copytree(folder, whole / "train")
    put(whole / "test" / "red" / "one.jpeg", RED)
    put(whole / "test" / "blue" / "two.PNG", BLUE)
    put(whole / "test" / "blue" / "three.png", BLUE)
    found = prepared(whole)
    assert found.meta["sizes"] == {"train": 18, "val": 2, "test": 3}
    np.testing.assert_array_equal(found.split("test", np.dtype("float32")).targets, [0, 0, 1])


def pixel_rows(folder: Path, **options: Any) -> np.ndarray:
    """The first channel of the picture that is twice as wide as high, white on the left."""
    picture = np.zeros((8, 16), np.uint8)
    picture[:, :8] = 255
    for number in range(8):
        for name in ("one", "two"):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    found = prepared(folder, normalize="none", **options)
    row: np.ndarray = found.split("test", np.dtype("float32")).inputs[0, :, :, 0]
    return row


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_an_image_of_another_shape_is_brought_to_the_size(tmp_path: Path, colour: str) -> None:
    stretched = pixel_rows(tmp_path / "a", colour=colour)
    assert stretched.shape == (8, 8)
    assert stretched[:, :3].min() > 250 and stretched[:, 5:].max() < 5
    cropped = pixel_rows(tmp_path / "b", colour=colour, resize="crop")
    np.testing.assert_array_equal(cropped, [[255] * 4 + [0] * 4] * 8)
    padded = pixel_rows(tmp_path / "c", colour=colour, resize="pad")
    np.testing.assert_array_equal(padded[[0, 1, 6, 7]], 0)
    assert padded[2:6, :3].min() > 250 and padded[2:6, 5:].max() < 5


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 100), ("RGBA", (100, 100, 100, 9)), ("I;16", 100 * 256), ("1", 1)]
)
def test_every_mode_becomes_grey_or_colour(tmp_path: Path, mode: str, colour: Any) -> None:
    for number in range(6):
        for name in ("one", "two"):
            put(tmp_path / "p" / name / f"{number}.png", colour, mode=mode)
    expected = 255 if mode == "1" else 100
    for wanted, channels in (("rgb", 3), ("grey", 1)):
        found = prepared(tmp_path / "p", colour=wanted, normalize="none")
        assert found.input_shape == (8, 8, channels)
        np.testing.assert_array_equal(found.split("train", np.dtype("float32")).inputs, expected)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 8, axis=1)).resize((8, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for number in range(6):
        for name in ("one", "two"):
            path = tmp_path / "p" / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, exif=exif, quality=95)
    found = prepared(tmp_path / "p", colour="grey", normalize="none")
    pixels = found.split("train", np.dtype("float32")).inputs[0, :, 0, 0]
    assert pixels[0] > 200 and pixels[-1] < 55


def test_an_unreadable_image_is_named(folder: Path) -> None:
    whole = (folder / "red" / "3.png").read_bytes()
    (folder / "red" / "3.png").write_bytes(whole[:40])
    with pytest.raises(RequestError, match=r"red/3\.png cannot be read as an image"):
        prepared(folder)
    (folder / "red" / "4.png").write_text("no image at all")
    (folder / "blue" / "0.jpg").write_bytes(b"")
    with pytest.raises(RequestError, match=r"blue/0\.jpg cannot .* \(3 of 20 files cannot\)"):
        prepared(folder)
    assert not list((folder.parent / "cache").rglob("*.npy"))


def test_a_picture_that_is_a_bomb_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(RequestError, match="exceeds limit"):
        prepared(folder)


def test_a_disk_without_room_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(folder)._replace(free=100)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: full)
    with pytest.raises(RequestError, match=r"Decoding the images needs .* 0\.0 MiB are free"):
        prepared(folder)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda f: shutil.rmtree(f / "red"), {}, r"has one class \('blue'\)"),
        (shutil.rmtree, {}, "There is no folder"),
        (lambda f: [shutil.rmtree(f / n) for n in ("red", "blue")], {}, "has no class folder"),
        (lambda f: (f / "green").mkdir(), {}, "class folder .*green holds no image"),
        (
            lambda f: (shutil.copytree(f, f / "train"), put(f / "test" / "green" / "1.png", RED)),
            {},
            "green is a class that .*train does not have",
        ),
        (lambda f: None, {"colour": "blue"}, "Unknown dataset.params.colour 'blue'"),
        (lambda f: None, {"resize": "twist"}, "Unknown dataset.params.resize 'twist'"),
        (lambda f: None, {"size": [0, 8]}, "size must be two positive whole numbers"),
        (lambda f: None, {"folder": None}, "folder must be a folder of images"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, change: Any, options: dict[str, Any], said: str
) -> None:
    change(folder)
    with pytest.raises(RequestError, match=said):
        prepared(folder, **options)


def test_pixels_are_normalised_by_given_numbers(folder: Path) -> None:
    mean, deviation = [0.5, 0.25, 0.125], [0.5, 0.2, 0.1]
    unit = prepared(folder).split("test", np.dtype("float32")).inputs
    found = prepared(folder, normalize="given", mean=mean, deviation=deviation)
    given = found.split("test", np.dtype("float32")).inputs
    np.testing.assert_allclose(given, (unit - np.array(mean)) / np.array(deviation), atol=1e-6)
    np.testing.assert_allclose(
        found.meta["black"], -np.array(mean) / np.array(deviation), rtol=1e-6
    )
    one = prepared(folder, normalize="given", mean=[0.5], deviation=[0.5])
    assert one.split("test", np.dtype("float32")).inputs.max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"normalize": "given"}, "needs mean and deviation"),
        ({"normalize": "given", "mean": [0.5], "deviation": [0.1, 0.2]}, "as many numbers each"),
        ({"normalize": "given", "mean": [0.5], "deviation": [0.0]}, "more than 0"),
        ({"normalize": "given", "mean": [0.5] * 2, "deviation": [0.5] * 2}, "mean has 2 numbers"),
        ({"mean": [0.5], "deviation": [0.5]}, "are for dataset.params.normalize=given"),
        ({"normalize": "given", "mean": ["x"], "deviation": [0.5]}, "mean must be a number"),
    ],
)
def test_given_numbers_that_do_not_do_are_named(
    folder: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        prepared(folder, **options)
