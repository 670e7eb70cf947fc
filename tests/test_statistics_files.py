"""The statistics files of other tools: read, refused, used as a side, written, and honest about what they leave out."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt import preparation
from genmetrics_rt.errors import FeatureMismatch, InputError, MissingInput, NonFiniteFeatures, UnreadableInput
from genmetrics_rt.metrics.frechet import frechet_distance
from genmetrics_rt.reference import UNRECORDED, Reference, open_statistics, taken_for, write_statistics
from genmetrics_rt.report import ExtractorSummary, Report
from genmetrics_rt.statistics import FeatureStatistics
from genmetrics_rt.statistics_files import is_statistics_file, read_all, read_statistics
from tests import makers

ROWS = np.random.default_rng(0).gamma(2.0, 1.0, (60, 12)).astype(np.float32)
WIDE = ROWS.astype(np.float64)
MU, SIGMA = WIDE.mean(axis=0), np.cov(WIDE, rowvar=False)
STYLEGAN = {
    "capture_all": False,
    "capture_mean_cov": True,
    "max_items": None,
    "num_items": 60,
    "num_features": 12,
    "all_features": [],
    "raw_mean": WIDE.sum(axis=0),
    "raw_cov": WIDE.T @ WIDE,
}


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def pkl(path: Path, tree: Any) -> Path:
    path.write_bytes(pickle.dumps(tree))
    return path


def pt(path: Path, tree: Any) -> Path:
    torch = pytest.importorskip("torch")
    torch.save(tree, path)
    return path


# Reading


def test_a_pytorch_fid_file(tmp_path: Path) -> None:
    path = npz(tmp_path / "real.npz", mu=MU, sigma=SIGMA)
    file = read_statistics(path)
    assert (file.layout, file.num_images, file.ddof, file.network, file.protocol) == (
        "pytorch-fid",
        None,
        1,
        None,
        None,
    )
    assert np.array_equal(file.mean, MU) and np.array_equal(file.covariance, SIGMA)
    assert is_statistics_file(path) and file.features is None


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("cifar10_clean_train_32.npz", "clean"),
        ("ffhq_legacy_pytorch_trainval_256.npz", "pytorch-fid"),
        ("MINE_legacy_tensorflow_custom_na.npz", "tf1"),
        ("clean.npz", None),
        ("real.npz", None),
    ],
)
def test_the_names_of_clean_fid_say_the_protocol(tmp_path: Path, name: str, protocol: str | None) -> None:
    assert read_statistics(npz(tmp_path / name, mu=MU, sigma=SIGMA)).protocol == protocol


def test_the_features_of_clean_fid_for_kid(tmp_path: Path) -> None:
    file = read_statistics(npz(tmp_path / "afhq_cat_clean_train_512_kid.npz", feats=ROWS))
    assert (file.layout, file.num_images, file.protocol, file.mean) == ("clean-fid-kid", 60, "clean", None)
    assert file.features is not None and np.array_equal(file.features, ROWS)


def test_a_batch_of_guided_diffusion_is_taken_for_its_statistics(tmp_path: Path) -> None:
    arrays = {"mu": MU, "sigma": SIGMA, "mu_s": MU[:5], "sigma_s": SIGMA[:5, :5]}
    file = read_statistics(npz(tmp_path / "a.npz", **arrays))
    assert (file.layout, file.protocol, file.holds_images) == ("adm", "adm", False)
    assert file.spatial_mean is not None and np.array_equal(file.spatial_mean, MU[:5])
    with_images = npz(tmp_path / "VIRTUAL_x.npz", arr_0=makers.pictures(2), **arrays)
    assert read_statistics(with_images).holds_images
    assert any("were not looked at" in note for note in open_statistics(with_images).summary.notes)


@pytest.mark.parametrize("count", [None, 60])
def test_a_file_of_edm2_holds_several_networks(tmp_path: Path, count: int | None) -> None:
    tree = {"fd_dinov2": {"mu": MU[:4] - 2, "sigma": SIGMA[:4, :4]}, "fid": {"mu": MU, "sigma": SIGMA}}
    path = pkl(tmp_path / "img512.pkl", tree if count is None else {"num_images": count, **tree})
    first, second = read_all(path)
    assert (first.network, second.network, first.layout) == ("inception-fid", "dinov2", "edm2")
    assert first.num_images == second.num_images == count
    chosen = read_statistics(path, network="dinov2").mean
    assert chosen is not None and np.array_equal(chosen, MU[:4] - 2)
    only = pkl(tmp_path / "only.pkl", {"fid": tree["fid"]})
    with pytest.raises(FeatureMismatch, match="holds no statistics of dinov2, only of inception-fid"):
        read_statistics(only, network="dinov2")


def test_the_cache_of_stylegan(tmp_path: Path) -> None:
    file = read_statistics(pkl(tmp_path / "x.pkl", STYLEGAN))
    assert (file.layout, file.num_images, file.ddof, file.protocol) == ("stylegan", 60, 0, "stylegan3")
    np.testing.assert_allclose(file.covariance, np.cov(WIDE, rowvar=False, ddof=0), rtol=0, atol=1e-13)
    captured = {**STYLEGAN, "capture_all": True, "capture_mean_cov": False, "all_features": [ROWS[:25], ROWS[25:]]}
    file = read_statistics(pkl(tmp_path / "all.pkl", captured))
    assert file.features is not None and np.array_equal(file.features, ROWS)
    with pytest.raises(UnreadableInput, match="counts 61 images and holds features of 60"):
        read_statistics(pkl(tmp_path / "wrong.pkl", {**captured, "num_items": 61}))
    with pytest.raises(UnreadableInput, match="without mean and covariance, and without features"):
        read_statistics(pkl(tmp_path / "none.pkl", {**STYLEGAN, "capture_mean_cov": False}))


def test_the_cache_of_torch_fidelity(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    theirs = fid.fid_features_to_statistics(torch.from_numpy(ROWS))
    path = pt(tmp_path / "real-inception-v3-compat-stat-fid-2048.pt", theirs)
    file = read_statistics(path)
    assert (file.layout, file.network, file.protocol, file.ddof) == ("torch-fidelity", "inception-fid", "tf1", 1)
    assert np.array_equal(file.covariance, theirs["sigma"])
    tensors = pt(tmp_path / "tensors.pt", {key: torch.from_numpy(value) for key, value in theirs.items()})
    assert np.array_equal(read_statistics(tensors).covariance, theirs["sigma"])
    features = read_statistics(pt(tmp_path / "features.pt", torch.from_numpy(ROWS))).features
    assert features is not None and np.array_equal(features, ROWS)


# Refusing


def changed(array: np.ndarray, value: Any, *places: tuple[int, ...]) -> np.ndarray:
    array = array.astype(np.result_type(array, type(value)))
    for place in places:
        array[place] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "kind", "message"),
    [
        ({"mu": MU, "sigma": SIGMA + 1e-12j}, UnreadableInput, "sigma is complex .* failed matrix square root"),
        ({"mu": MU, "sigma": changed(SIGMA, 9.0, (0, 1))}, UnreadableInput, "not symmetric"),
        (
            {"mu": MU, "sigma": changed(SIGMA, np.nan, (3, 3))},
            NonFiniteFeatures,
            "sigma has NaN or infinity in 1 places",
        ),
        ({"mu": changed(MU, np.inf, (2,)), "sigma": SIGMA}, NonFiniteFeatures, "mu has NaN or infinity"),
        ({"mu": MU, "sigma": changed(SIGMA, -1.0, (3, 3))}, UnreadableInput, "negative variances"),
        ({"mu": MU, "sigma": changed(SIGMA, 99.0, (0, 1), (1, 0))}, UnreadableInput, "not positive semidefinite"),
        ({"mu": MU[:5], "sigma": SIGMA}, UnreadableInput, "mu has 5 dimensions and sigma 12"),
        ({"mu": MU[None], "sigma": SIGMA}, UnreadableInput, r"mu has shape \(1, 12\)"),
        ({"mu": MU, "sigma": SIGMA[:5]}, UnreadableInput, r"sigma \(5, 12\)"),
        ({"mu": MU[:0], "sigma": SIGMA[:0, :0]}, UnreadableInput, "a mean is"),
        ({"mu": MU, "cov": SIGMA}, UnreadableInput, "has no sigma. It holds mu, cov"),
        ({"mu": MU, "sigma": SIGMA, "mu_s": MU}, UnreadableInput, "has no sigma_s"),
        ({"mu": MU, "sigma": SIGMA.astype(str)}, UnreadableInput, "no numbers"),
        ({"feats": ROWS[0]}, UnreadableInput, r"features of shape \(12,\)"),
        ({"feats": ROWS + 0j}, UnreadableInput, "no real numbers"),
        ({"feats": changed(ROWS, np.nan, (7, 1))}, NonFiniteFeatures, "1 of 60 rows"),
    ],
)
def test_statistics_that_cannot_be(tmp_path: Path, arrays: Any, kind: type[InputError], message: str) -> None:
    with pytest.raises(kind, match=message) as refused:
        read_statistics(npz(tmp_path / "x.npz", **arrays))
    assert str(tmp_path / "x.npz") in str(refused.value)


def test_rounding_of_float32_is_no_reason_to_refuse(tmp_path: Path) -> None:
    narrow = SIGMA.astype(np.float32)
    narrow[0, 1] = np.nextafter(narrow[0, 1], np.float32(9))
    file = read_statistics(npz(tmp_path / "x.npz", mu=MU.astype(np.float32), sigma=narrow))
    assert file.covariance is not None and np.array_equal(file.covariance, file.covariance.T)
    assert file.covariance.dtype == np.float64


def test_a_large_dimension_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (9000,)})
    sigma = io.BytesIO()
    np.lib.format.write_array_header_1_0(sigma, {"descr": "<f8", "fortran_order": False, "shape": (9000, 9000)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("mu.npy", header.getvalue())
        archive.writestr("sigma.npy", sigma.getvalue())
    with pytest.raises(UnreadableInput, match="9,000 dimensions; at most 8,192"):
        read_statistics(tmp_path / "x.npz")


@pytest.mark.parametrize("make", [npz, pkl, pt], ids=["npz", "pkl", "pt"])
def test_a_file_that_was_cut_off(tmp_path: Path, make: Callable[..., Path]) -> None:
    path = tmp_path / f"x.{make.__name__}"
    _ = npz(path, mu=MU, sigma=SIGMA) if make is npz else make(path, {"mu": MU, "sigma": SIGMA})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableInput, match=str(path)):
        read_statistics(path)


class Shell:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


def test_a_pickle_that_wants_to_run_something(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=r"system.*refused"):
        read_statistics(pkl(tmp_path / "x.pkl", {"fid": Shell()}))


def test_pickles_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=r"has no mu and no sigma\. It holds weight"):
        gm.evaluate(makers.pictures(4), pkl(tmp_path / "x.pkl", {"weight": ROWS}))
    with pytest.raises(UnreadableInput, match="no statistics"):
        read_statistics(pkl(tmp_path / "x.pkl", [1, 2]))
    with pytest.raises(MissingInput, match="is no file"):
        read_statistics(tmp_path / "absent.npz")


# As a side


def images(seed: int, count: int = 40) -> np.ndarray:
    return makers.pictures(count, seed=seed)


@pytest.fixture(scope="module")
def saved(tiny: Path) -> Reference:
    return gm.make_reference(images(1), extractor=str(tiny))


def value(report: Report, key: str = "fd") -> float:
    number = report.scores[key].value
    assert number is not None
    return number


def test_a_file_gives_the_distance_that_our_own_gives(tiny: Path, saved: Reference, tmp_path: Path) -> None:
    write_statistics(saved, tmp_path / "theirs.npz", "pytorch-fid")
    saved.save(tmp_path / "ours.npz")
    theirs = gm.evaluate(images(2), tmp_path / "theirs.npz", extractor=str(tiny))
    ours = gm.evaluate(images(2), tmp_path / "ours.npz", extractor=str(tiny))
    assert value(theirs) == pytest.approx(value(ours), rel=1e-12)
    assert theirs.fingerprint == ours.fingerprint and theirs.extractor == ours.extractor
    assert theirs.reference.num_images is None
    for key in ("kid", "precision", "recall", "density", "coverage", "prd_f8"):
        assert theirs.scores[key].value is None and "single images" in str(theirs.scores[key].reason)
    swapped = gm.evaluate(tmp_path / "theirs.npz", images(2), extractor=str(tiny), metrics="fd")
    assert value(swapped) == pytest.approx(value(ours), rel=1e-9)


def test_what_was_assumed_stands_in_every_report(tiny: Path, saved: Reference, tmp_path: Path) -> None:
    write_statistics(saved, tmp_path / "theirs.npz", "pytorch-fid")
    report = gm.evaluate(images(2), tmp_path / "theirs.npz", extractor=str(tiny), metrics="fd")
    notes = " ".join(report.reference.notes)
    assert "Taken to be features of tiny, protocol tiny." in notes and "ddof 1" in notes and "KID" in notes
    for shown in (report.to_text(width=200), report.to_markdown(), report.to_html()):
        assert "Taken to be features of tiny, protocol tiny." in shown
        assert "an unknown number of" in shown
        assert "None" not in shown and "reference images none" not in shown
    again = Report.from_json(report.to_json())
    assert again.reference == report.reference and again.to_text() == report.to_text()
    assert report.to_dict()["reference"]["num_images"] is None


def test_features_give_every_score(tiny: Path, saved: Reference, tmp_path: Path) -> None:
    path = npz(tmp_path / "feats.npz", feats=saved.features.values)
    theirs, ours = (gm.evaluate(images(2), side, extractor=str(tiny)) for side in (path, saved))
    assert {key: score.value for key, score in theirs.scores.items()} == {
        key: score.value for key, score in ours.scores.items()
    }
    assert theirs.reference.num_images == 40


def test_the_moments_of_stylegan_are_converted(tiny: Path, saved: Reference, tmp_path: Path) -> None:
    rows = saved.features.values.astype(np.float64)
    tree = {**STYLEGAN, "num_items": 40, "raw_mean": rows.sum(axis=0), "raw_cov": rows.T @ rows}
    path = pkl(tmp_path / "x.pkl", tree)
    theirs = gm.evaluate(images(2), path, extractor=str(tiny), metrics="fd")
    assert value(theirs) == pytest.approx(value(gm.evaluate(images(2), saved, extractor=str(tiny))), rel=1e-9)
    assert theirs.reference.num_images == 40
    assert any("speaks for the protocol stylegan3" in note for note in theirs.reference.notes)


def test_images_that_stream_in(tiny: Path, saved: Reference, tmp_path: Path) -> None:
    write_statistics(saved, tmp_path / "theirs.npz", "pytorch-fid")
    with gm.Evaluation(tmp_path / "theirs.npz", extractor=str(tiny), metrics="fd") as evaluation:
        evaluation.update(images(2))
        streamed = evaluation.compute()
    assert value(streamed) == pytest.approx(value(gm.evaluate(images(2), saved, extractor=str(tiny))), rel=1e-9)


def test_against_a_recorded_side_it_is_taken_for_that_extractor(saved: Reference, tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", mu=MU, sigma=SIGMA)
    report = gm.evaluate(path, saved, metrics="fd")
    assert report.extractor == saved.extractor
    assert any("Taken to be features of tiny" in note for note in report.generated.notes)


def test_two_files_are_compared_as_they_are(tmp_path: Path) -> None:
    first, second = npz(tmp_path / "a.npz", mu=MU, sigma=SIGMA), npz(tmp_path / "b.npz", mu=MU + 1, sigma=SIGMA * 2)
    report = gm.evaluate(first, second, metrics="fd")
    right = frechet_distance(FeatureStatistics(MU, SIGMA, None), FeatureStatistics(MU + 1, SIGMA * 2, None))
    assert value(report) == pytest.approx(right, rel=1e-12)
    assert report.extractor.numeric_id == UNRECORDED and report.generated.num_images is None
    clean = npz(tmp_path / "x_clean_train_32.npz", mu=MU, sigma=SIGMA)
    assert value(gm.evaluate(clean, second, metrics="fd")) == pytest.approx(right, rel=1e-12)
    legacy = npz(tmp_path / "x_legacy_pytorch_train_32.npz", mu=MU, sigma=SIGMA)
    with pytest.raises(FeatureMismatch, match=r"\(clean\).*\(pytorch-fid\)"):
        gm.evaluate(clean, legacy, metrics="fd")


def test_the_user_may_say_whose_features_two_files_hold(tiny: Path, tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", mu=MU, sigma=SIGMA)
    report = gm.evaluate(path, path, extractor=str(tiny), metrics="fd")
    assert (report.extractor.name, report.extractor.protocol) == ("tiny", "tiny")
    with pytest.raises(FeatureMismatch, match="5 dimensions, the features 12"):
        gm.make_reference(npz(tmp_path / "b.npz", mu=MU[:5], sigma=SIGMA[:5, :5]), extractor=str(tiny))


def test_a_file_of_the_inception_size_means_the_inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "list_bundles", lambda kind: ["inception-fid", "scattering"])
    asked: list[Any] = []

    def load(name: Any) -> Any:
        asked.append(name)
        raise MissingInput("stop")

    monkeypatch.setattr(preparation, "load_bundle", load)
    path = npz(tmp_path / "real.npz", mu=np.ones(2048), sigma=np.eye(2048))
    for extractor, expected in ((None, "inception-fid"), ("mine", "mine")):
        with pytest.raises(MissingInput, match="stop"):
            gm.evaluate(images(2, 4), path, extractor=extractor)
        assert asked[-1] == expected
    monkeypatch.setenv("GENMETRICS_EXTRACTOR", "theirs")
    with pytest.raises(MissingInput, match="stop"):
        gm.evaluate(images(2, 4), path)
    assert asked[-1] == "theirs"


def extractor(name: str = "inception-fid", dimension: int = 2048, protocol: str = "tf1") -> ExtractorSummary:
    return ExtractorSummary(name, name, "", "0" * 64, protocol, dimension, published=True)


def of_size(path: Path, dimension: int, low: float = 0.0) -> Reference:
    return open_statistics(npz(path, mu=np.full(dimension, low), sigma=np.eye(dimension)))


def test_what_a_file_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FeatureMismatch, match=r"64 dimensions, the features 2048 .*--dims 64; --tap 64"):
        taken_for(of_size(tmp_path / "a.npz", 64), extractor())
    negative = of_size(tmp_path / "b.npz", 2048, low=-0.5)
    with pytest.raises(FeatureMismatch, match="never negative"):
        taken_for(negative, extractor())
    with pytest.raises(FeatureMismatch, match="never negative"):
        negative.require_same_features(extractor())
    assert taken_for(negative, extractor("resnet")).extractor.name == "resnet"
    with pytest.raises(FeatureMismatch, match="holds those of inception-fid"):
        taken_for(of_size(tmp_path / "c.npz", 2048), extractor("dinov2", 1024))


def test_of_several_networks_the_fitting_one_is_taken(tmp_path: Path) -> None:
    of_dino = {"mu": MU[:4] - 2, "sigma": SIGMA[:4, :4]}
    side = open_statistics(pkl(tmp_path / "x.pkl", {"fid": {"mu": MU, "sigma": SIGMA}, "fd_dinov2": of_dino}))
    assert taken_for(side, extractor("dinov2-large", 4)).features.dimension == 4
    assert taken_for(side, extractor("inception-fid", 12)).features.dimension == 12
    only = open_statistics(pkl(tmp_path / "y.pkl", {"fd_dinov2": of_dino}))
    with pytest.raises(FeatureMismatch, match="holds those of dinov2"):
        taken_for(only, extractor("inception-fid", 4))


def test_a_name_that_speaks_for_another_protocol_is_a_note(tmp_path: Path) -> None:
    side = of_size(tmp_path / "x_clean_train_32.npz", 12)
    assert any("Try --protocol clean" in note for note in taken_for(side, extractor("tiny", 12)).summary.notes)
    fitting = taken_for(side, extractor("tiny", 12, "clean"))
    assert not any("--protocol" in note for note in fitting.summary.notes)


def test_a_divisor_cannot_change_without_the_count() -> None:
    unknown = FeatureStatistics(MU, SIGMA, None)
    assert unknown.with_ddof(1) is unknown
    with pytest.raises(InputError, match=r"taken to divide by N − 1, cannot be converted to one that divides by N:"):
        frechet_distance(unknown, unknown, ddof=0)
    with pytest.raises(InputError, match="unknown number of images cannot be merged"):
        unknown.merge(unknown)


# Writing


def test_pytorch_fid_reads_what_is_written(saved: Reference, tmp_path: Path) -> None:
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    write_statistics(saved, tmp_path / "x.npz", "pytorch-fid")
    mean, covariance = fid_score.compute_statistics_of_path(str(tmp_path / "x.npz"), None, 1, 2048, "cpu")
    rows = saved.features.values.astype(np.float64)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(covariance, np.cov(rows, rowvar=False), rtol=1e-10, atol=1e-15)
    assert mean.dtype == covariance.dtype == np.float64
    again = read_statistics(tmp_path / "x.npz")
    assert np.array_equal(again.mean, mean) and np.array_equal(again.covariance, covariance)


def test_spatial_statistics_go_to_guided_diffusion_and_back(saved: Reference, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--protocol adm, or write the layout pytorch-fid"):
        write_statistics(saved, tmp_path / "x.npz", "adm")
    grid = np.random.default_rng(3).random((17, 17, 7))
    by_channels = np.moveaxis(grid, 2, 0).ravel()
    spatial = FeatureStatistics(by_channels, np.diag(by_channels), 40)
    full = dataclasses.replace(saved, features=dataclasses.replace(saved.features, spatial=spatial))
    write_statistics(full, tmp_path / "x.npz", "adm")
    with np.load(tmp_path / "x.npz") as stored:
        assert set(stored.files) == {"mu", "sigma", "mu_s", "sigma_s"}
        assert np.array_equal(stored["mu_s"], grid.ravel())  # TensorFlow's order: rows, columns, channels
        assert np.array_equal(stored["sigma_s"], np.diag(grid.ravel()))
    for back in (open_statistics(tmp_path / "x.npz"), _saved_and_loaded(full, tmp_path / "ours.npz")):
        assert back.features.spatial is not None
        assert np.array_equal(back.features.spatial.mean, by_channels)
        assert np.array_equal(back.features.spatial.covariance, spatial.covariance)


def _saved_and_loaded(reference: Reference, path: Path) -> Reference:
    reference.save(path)
    return Reference.load(path)


def test_a_side_without_a_count_is_saved_as_it_is(tmp_path: Path) -> None:
    side = open_statistics(npz(tmp_path / "x.npz", mu=MU, sigma=SIGMA))
    again = _saved_and_loaded(side, tmp_path / "again.npz")
    assert again.summary == side.summary and again.extractor == side.extractor
    assert again.features.num_images is None and again.features.dimension == 12
    assert np.array_equal(again.features.statistics().covariance, SIGMA)


def test_places_and_layouts_that_cannot_be_written(saved: Reference, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No layout 'edm2'\. These exist: pytorch-fid, adm"):
        write_statistics(saved, tmp_path / "x.npz", "edm2")
    with pytest.raises(InputError, match=r"must end in \.npz"):
        write_statistics(saved, tmp_path / "x.pt", "pytorch-fid")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="Cannot write"):
        write_statistics(saved, tmp_path / "file" / "x.npz", "pytorch-fid")
