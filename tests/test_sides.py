"""The door for a side: what is taken for what, and what is said of the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.errors import FeatureMismatch, InputError, UnreadableInput
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.sides import open_side
from tests import makers


def denied(*arguments: Any, **options: Any) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("function", ["os.stat", "os.scandir"])
def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    folder = makers.image_folder(tmp_path / "real", 2)
    monkeypatch.setattr(function, denied)  # root may read everything
    with pytest.raises(UnreadableInput, match=r"real cannot be read: permission denied\. Fix its permissions"):
        open_side(folder)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.zip", "x.tar"])
def test_a_file_without_permission_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("pathlib.Path.open", denied)
    with pytest.raises(UnreadableInput, match=r"permission denied\. Fix its permissions"):
        open_side(tmp_path / name)


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(makers.image_folder(tmp_path / "real", 2))
    with pytest.raises(InputError, match="is a shell variable unset"):
        open_side("")
    assert len(open_side(".")) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ['{"schema": "someone.else/1"}', '{"a": 1}', "[]", "{", "\xff", "[" * 100_000])
def test_images_beside_a_manifest_of_something_else_are_images(tmp_path: Path, content: str) -> None:
    folder = makers.image_folder(tmp_path / "real", 3)
    (folder / "manifest.json").write_text(content, encoding="latin-1")
    assert len(open_side(folder)) == 3  # type: ignore[arg-type]


def test_a_bundle_of_another_version_is_still_a_bundle(tiny_generator: Path, tmp_path: Path) -> None:
    assert isinstance(open_side(tiny_generator), Generator)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": "genmetrics.bundle/9"}))
    with pytest.raises(InputError, match="made for another version"):
        open_side(tmp_path)


def test_the_example_images_are_those_of_the_side_of_that_name() -> None:
    example, side = gm.example_images("digits"), open_side("digits")
    assert len(side) == len(example.images) == len(example.labels) == len(example.is_train)
    for index in (0, 700, len(side) - 1):
        assert (side.read(index).pixels[..., 1] == example.images[index]).all()
    assert example.images.dtype == np.uint8 and sorted(set(example.labels)) == list(range(10))
    assert 0.5 < example.is_train.mean() < 0.8
    with pytest.raises(InputError, match="no example images 'cats'; there are digits"):
        gm.example_images("cats")


def test_an_extractor_as_a_side_says_where_it_belongs(tiny: Path) -> None:
    with pytest.raises(InputError, match=f"That is an extractor: use -e {tiny}"):
        open_side(tiny)
    with pytest.raises(InputError, match="use -e digits-classifier"):
        open_side("digits-classifier")


@pytest.fixture
def of_features() -> gm.Reference:
    return gm.make_reference(np.random.default_rng(0).random((20, 5)))


def test_a_reference_of_given_features_does_not_go_with_images(of_features: gm.Reference) -> None:
    with pytest.raises(FeatureMismatch, match="features of the same network"):
        gm.evaluate(makers.pictures(12), of_features)


def test_a_reference_is_shown_in_a_line_and_saved_under_a_name_that_is_read_again(
    of_features: gm.Reference, tmp_path: Path
) -> None:
    assert repr(of_features) == "Reference(num_images=20, extractor='features', source='features (20, 5)')"
    with pytest.raises(InputError, match=f"Use for instance {tmp_path / 'real.npz'}"):
        of_features.save(tmp_path / "real.dat")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_a_reference_file_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(UnreadableInput, match="not a readable reference file"):
        gm.Reference.load(tmp_path / "r.npz")


def test_a_report_prints_as_its_table(of_features: gm.Reference) -> None:
    report = gm.evaluate(of_features, of_features, metrics="fd")
    assert str(report) == report.to_text()


def test_statistics_and_images_in_one_file_are_told_apart(tmp_path: Path) -> None:
    pictures, statistics = makers.pictures(3), {"mu": np.zeros(4), "sigma": np.eye(4)}
    np.savez(tmp_path / "images.npz", arr_0=pictures)
    np.savez(tmp_path / "both.npz", arr_0=pictures, **statistics)
    assert len(open_side(tmp_path / "images.npz")) == 3  # type: ignore[arg-type]
    side = open_side(tmp_path / "both.npz")
    assert isinstance(side, gm.Reference) and side.summary.num_images is None
    assert repr(side).startswith("Reference(num_images=None, extractor='features'")


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pt", ".pth"])
def test_a_pickle_that_is_no_pickle(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"no pickle")
    with pytest.raises(UnreadableInput, match=f"x{suffix}"):
        open_side(tmp_path / f"x{suffix}")
