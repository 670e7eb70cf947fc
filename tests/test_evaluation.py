"""Two sides to a report, through the real pipeline, with a tiny frozen network."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt import graph_on_onnxruntime
from genmetrics_rt.extractor import CHUNK
from genmetrics_rt.generators import GeneratorSource
from tests import makers, protocols


def values(report: gm.Report) -> dict[str, float | None]:
    return {key: score.value for key, score in report.scores.items()}


def test_two_folders_become_a_report(tiny: Path, tmp_path: Path) -> None:
    generated = makers.image_folder(tmp_path / "generated", 60, seed=1)
    reference = makers.image_folder(tmp_path / "reference", 70, seed=2)
    report = gm.evaluate(generated, reference, extractor=tiny)
    assert set(report.scores) == {"fd", "kid", "precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8"}
    assert all(value is not None for value in values(report).values())
    assert (report.generated.num_images, report.reference.num_images) == (60, 70)
    assert "prd" in report.curves and len(report.curves["prd"].x) == 1001
    assert {gallery.key for gallery in report.galleries} >= {"least_realistic", "most_realistic"}
    assert all(thumbnail.jpeg for gallery in report.galleries for thumbnail in gallery.thumbnails)
    record = json.loads(report.to_json())
    assert record["schema"] == "genmetrics.report/1"
    assert record["scores"]["fd"]["name"] == "Fréchet distance on tiny features"


def test_every_way_to_give_the_same_images_gives_the_same_numbers(tiny: Path, tmp_path: Path) -> None:
    import shutil
    import tarfile

    folder = makers.image_folder(tmp_path / "generated", 40, seed=1)
    shutil.make_archive(str(tmp_path / "generated"), "zip", folder)
    with tarfile.open(tmp_path / "generated.tar", "w") as tar:
        tar.add(folder, arcname=".")
    array = makers.pictures(40, seed=1)
    np.save(tmp_path / "generated.npy", array)
    np.savez_compressed(tmp_path / "generated.npz", array)
    reference = gm.make_reference(makers.pictures(50, seed=2), extractor=tiny)
    expected = values(gm.evaluate(folder, reference, extractor=tiny))
    for given in (
        tmp_path / "generated.zip",
        str(tmp_path / "generated.tar"),
        tmp_path / "generated.npy",
        tmp_path / "generated.npz",
        array,
        gm.make_reference(folder, extractor=tiny),
    ):
        assert values(gm.evaluate(given, reference, extractor=tiny)) == expected, given


def test_a_saved_reference_gives_the_same_numbers(tiny: Path, tmp_path: Path) -> None:
    generated, reference = makers.pictures(40, seed=1), makers.pictures(50, seed=2)
    gm.make_reference(reference, extractor=tiny).save(tmp_path / "real.npz")
    expected = values(gm.evaluate(generated, reference, extractor=tiny))
    found = values(gm.evaluate(generated, tmp_path / "real.npz", extractor=tiny))
    assert found == pytest.approx(expected, rel=1e-10)


def test_features_are_accepted_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    generated, reference = rng.standard_normal((80, 6)) + 0.2, rng.standard_normal((90, 6))
    np.save(tmp_path / "g.npy", generated)
    report = gm.evaluate(tmp_path / "g.npy", reference)
    assert report.scores["fd"].value == pytest.approx(gm.frechet_distance(generated, reference), rel=1e-12)
    assert report.extractor.name == "features" and not report.galleries


def test_identical_sides(tiny: Path) -> None:
    images = makers.pictures(60, seed=3)
    report = gm.evaluate(images, images, extractor=tiny)
    assert report.scores["fd"].value == pytest.approx(0, abs=1e-9)
    assert report.scores["precision"].value == report.scores["recall"].value == 1
    assert report.scores["density"].value == pytest.approx(1, abs=0.01)


def test_order_and_batch_size_change_nothing(tiny: Path) -> None:
    generated, reference = makers.pictures(70, seed=1), makers.pictures(60, seed=2)
    expected = values(gm.evaluate(generated, reference, extractor=tiny, metrics="fd,precision,recall,density,coverage"))
    shuffled = generated[np.random.default_rng(0).permutation(70)]
    for batch_size in (1, 7, 64):
        found = values(
            gm.evaluate(
                shuffled,
                reference,
                extractor=tiny,
                batch_size=batch_size,
                cache=False,
                metrics="fd,precision,recall,density,coverage",
            )
        )
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_generator_stands_as_a_side(tiny: Path, tiny_generator: Path) -> None:
    reference = makers.pictures(50, seed=2, size=8)
    first = gm.evaluate(tiny_generator, reference, extractor=tiny, seed=3)
    again = gm.evaluate(tiny_generator, reference, extractor=tiny, seed=3, cache=False, batch_size=5)
    other = gm.evaluate(tiny_generator, reference, extractor=tiny, seed=4)
    assert first.generated.num_images == 50
    assert values(first) == pytest.approx(values(again), rel=1e-5)
    assert values(first)["fd"] != values(other)["fd"]


def test_class_logits_give_a_class_score(tiny_classes: Path) -> None:
    report = gm.evaluate(makers.pictures(60, seed=1), makers.pictures(60, seed=2), extractor=tiny_classes)
    assert 1 <= report.scores["class_score"].value <= 5
    assert report.scores["class_score"].details["num_classes"] == 5


def test_everything_at_once_runs_each_network_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All metrics, those on request too, on features, logits and the spatial tap, with intervals and findings."""
    six = protocols.make_six(tmp_path / "six")
    seen: dict[str, int] = {}
    run = graph_on_onnxruntime.OnnxGraph.run

    def counted(graph: graph_on_onnxruntime.OnnxGraph, inputs: Any) -> Any:
        (rows,) = {len(value) for value in inputs.values()}
        seen[next(iter(inputs))] = seen.get(next(iter(inputs)), 0) + rows
        return run(graph, inputs)

    monkeypatch.setattr(graph_on_onnxruntime.OnnxGraph, "run", counted)
    sides = makers.pictures(90, seed=1), makers.pictures(100, seed=2)
    report = gm.evaluate(*sides, extractor=six, protocol="adm", metrics="all", cache=False)
    assert seen == {"images": 96 + 104}  # in whole batches of 8
    assert {"fid", "sfid", "is", "kid", "prd_f8", "vendi", "authenticity", "two_sample", "rbf"} <= set(report.scores)
    assert gm.evaluate(*sides, extractor=six, metrics=[" ALL "], cache=False).scores.keys() < report.scores.keys()


def test_each_sample_of_a_generator_is_made_once(
    tiny: Path, tiny_generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features, findings and galleries look at the same pictures."""
    blocks: list[int] = []
    make = GeneratorSource._make

    def counted(source: GeneratorSource, block: int) -> Any:
        blocks.append(block)
        return make(source, block)

    monkeypatch.setattr(GeneratorSource, "_make", counted)
    report = gm.evaluate(tiny_generator, makers.pictures(1000, seed=2), extractor=tiny, metrics="all", cache=False)
    assert report.generated.num_images == 1000 and report.galleries
    assert sorted(blocks) == list(range(16))


def test_sfid_says_how_sure_it_is_and_what_a_perfect_model_gets(tmp_path: Path) -> None:
    """The spatial tap of this bundle is its features, so sFID is the Fréchet distance in all that is said of it."""
    six = protocols.make_six(tmp_path / "six")
    sides = makers.pictures(90, seed=1), makers.pictures(100, seed=2)
    options: dict[str, Any] = {"extractor": six, "protocol": "adm", "metrics": "fid,sfid", "cache": False}
    report = gm.evaluate(*sides, **options)
    fid, sfid = report.scores["fid"], report.scores["sfid"]
    assert sfid.standard_error == pytest.approx(fid.standard_error, rel=1e-6) and sfid.standard_error > 0
    assert sfid.interval == pytest.approx(fid.interval, rel=1e-6)
    assert sfid.details["without_bias"] == pytest.approx(fid.details["without_bias"], rel=1e-6)
    assert dataclasses.astuple(sfid.floor)[:5] == pytest.approx(dataclasses.astuple(fid.floor)[:5], rel=1e-6)
    assert gm.Report.from_json(report.to_json()).scores == report.scores

    # A file has no spatial rows: the same value, against a reference that is taken as exact.
    made = gm.make_reference(sides[1], extractor=six, protocol="adm", cache=False)
    assert made.features.spatial_values.shape == (100, 12)
    made.save(tmp_path / "real.npz")
    assert gm.Reference.load(tmp_path / "real.npz").features.spatial_values is None
    saved = gm.evaluate(sides[0], tmp_path / "real.npz", **options).scores["sfid"]
    assert saved.value == sfid.value and saved.floor is None and "as exact" in saved.details["one_sided"]
    assert 0 < saved.standard_error < sfid.standard_error


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("fid", "ask for 'fd'"),
        ("is", "class_score"),
        ("class_score", "needs class logits"),
        ("nonsense", "These exist"),
        (",", "No metric"),
    ],
)
def test_a_metric_that_does_not_exist_here_is_named(tiny: Path, metrics: str, message: str) -> None:
    images = makers.pictures(20)
    with pytest.raises(gm.UnknownMetric, match=message):
        gm.evaluate(images, images, extractor=tiny, metrics=metrics)


def test_few_images_lose_only_the_metrics_that_need_more(tiny: Path) -> None:
    report = gm.evaluate(makers.pictures(5, seed=1), makers.pictures(30, seed=2), extractor=tiny)
    assert report.scores["fd"].value is not None and report.scores["precision"].value is not None
    assert report.scores["coverage"].value is None and "at least 6" in report.scores["coverage"].reason
    assert report.scores["prd_f8"].value is None and "20" in report.scores["prd_f8"].reason
    assert json.loads(report.to_json())["scores"]["coverage"]["value"] is None
    assert "coverage" in report.to_text().lower() and report.to_html() and report.to_markdown()


def test_one_image_is_too_few_for_anything(tiny: Path) -> None:
    with pytest.raises(gm.TooFewImages, match="No metric could be computed"):
        gm.evaluate(makers.pictures(1), makers.pictures(30), extractor=tiny)


def test_unusable_files_are_listed_never_dropped(tiny: Path, tmp_path: Path) -> None:
    folder = makers.image_folder(tmp_path / "generated", 30)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "notes.txt").write_text("not an image")
    report = gm.evaluate(folder, makers.pictures(30, seed=2), extractor=tiny)
    assert report.generated.num_images == 30
    assert {entry.name for entry in report.generated.skipped} == {"broken.png", "notes.txt"}
    again = gm.evaluate(folder, makers.pictures(30, seed=2), extractor=tiny)  # from the cache
    assert again.generated.skipped == report.generated.skipped
    with pytest.raises(gm.UnreadableInput, match=r"broken\.png|notes\.txt"):
        gm.evaluate(folder, makers.pictures(30, seed=2), extractor=tiny, strict=True)


def test_the_cache_follows_the_content_not_the_name(tiny: Path, tmp_path: Path) -> None:
    reference = makers.pictures(40, seed=2)
    folder = makers.image_folder(tmp_path / "generated", 30, seed=1)
    seen: list[gm.Progress] = []
    first = gm.evaluate(folder, reference, extractor=tiny)
    renamed = folder.rename(tmp_path / "renamed")
    again = gm.evaluate(renamed, reference, extractor=tiny, progress=seen.append)
    assert seen[-1].from_cache == 30 and values(first) == values(again)
    Image.fromarray(makers.pictures(1, seed=99)[0]).save(renamed / "0003.png")
    changed = gm.evaluate(renamed, reference, extractor=tiny)
    assert values(changed)["fd"] != values(first)["fd"]


def test_an_interrupted_run_resumes_from_its_chunks(tiny: Path) -> None:
    images = makers.pictures(3 * CHUNK + 10, seed=1, size=8)
    reference = gm.make_reference(makers.pictures(40, seed=2), extractor=tiny)

    def interrupt(state: gm.Progress) -> None:
        if state.done >= 2 * CHUNK + 40:
            raise KeyboardInterrupt

    slow = _every_step(interrupt)
    with pytest.raises(KeyboardInterrupt):
        gm.evaluate(images, reference, extractor=tiny, progress=slow, batch_size=8)
    seen: list[gm.Progress] = []
    resumed = gm.evaluate(images, reference, extractor=tiny, progress=seen.append, batch_size=8)
    assert seen[-1].from_cache >= CHUNK
    assert values(resumed) == values(gm.evaluate(images, reference, extractor=tiny, cache=False, batch_size=8))


def _every_step(callback):
    """The meter speaks at most ten times a second; a test that wants every step patches its clock."""
    import genmetrics_rt.progress as meters

    clock = iter(range(1_000_000))
    patch = pytest.MonkeyPatch()
    patch.setattr(meters.time, "perf_counter", lambda: float(next(clock)))

    def step(state: gm.Progress) -> None:
        try:
            callback(state)
        except KeyboardInterrupt:
            patch.undo()
            raise

    return step


def test_streaming_equals_evaluating(tiny: Path) -> None:
    generated, reference = makers.pictures(90, seed=1), makers.pictures(80, seed=2)
    expected = values(gm.evaluate(generated, reference, extractor=tiny))
    with gm.Evaluation(reference, extractor=tiny) as evaluation:
        for start in range(0, 90, 13):
            evaluation.update(generated[start : start + 13])
        assert evaluation.num_images == 90
        assert values(evaluation.compute()) == pytest.approx(expected, rel=1e-5)


def test_streaming_against_a_saved_reference(tiny: Path, tmp_path: Path) -> None:
    images, reference = makers.pictures(40, seed=1), gm.make_reference(makers.pictures(40, seed=2), extractor=tiny)
    evaluation = gm.Evaluation(reference, extractor=tiny, metrics="fd")
    evaluation.update(images)
    expected = gm.evaluate(images, reference, extractor=tiny).scores["fd"].value
    assert evaluation.compute().scores["fd"].value == pytest.approx(expected, rel=1e-5)
    own = gm.make_reference(np.random.default_rng(0).random((40, 12)))
    with pytest.raises(gm.FeatureMismatch, match="features of the same network"):
        gm.Evaluation(own, extractor=tiny)


def test_eight_threads_and_a_merge_see_every_image(tiny: Path) -> None:
    generated, reference = makers.pictures(160, seed=1), makers.pictures(80, seed=2)
    one, two = (gm.Evaluation(reference, extractor=tiny, metrics="fd") for _ in range(2))
    threads = [
        threading.Thread(target=(one if index % 2 else two).update, args=(generated[20 * index : 20 * index + 20],))
        for index in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.merge(two)
    report = one.compute()
    assert report.generated.num_images == 160
    expected = gm.evaluate(generated, reference, extractor=tiny, metrics="fd").scores["fd"].value
    assert report.scores["fd"].value == pytest.approx(expected, rel=1e-5)


def test_merging_unlike_evaluations_is_refused(tiny: Path, tiny_classes: Path) -> None:
    reference = makers.pictures(30)
    one, two = gm.Evaluation(reference, extractor=tiny), gm.Evaluation(reference, extractor=tiny_classes)
    with pytest.raises(gm.FeatureMismatch):
        one.merge(two)
    with pytest.raises(gm.InputError, match="itself"):
        one.merge(one)


def test_compute_before_any_image_says_so(tiny: Path) -> None:
    with pytest.raises(gm.EmptySide, match="update"):
        gm.Evaluation(makers.pictures(30), extractor=tiny).compute()


def test_num_images_takes_a_seeded_sample(tiny: Path) -> None:
    generated, reference = makers.pictures(90, seed=1), makers.pictures(80, seed=2)
    a, b, c = (gm.evaluate(generated, reference, extractor=tiny, num_images=50, seed=seed) for seed in (0, 0, 1))
    assert a.generated.num_images == a.reference.num_images == 50
    assert values(a) == values(b) != values(c)
    with pytest.raises(gm.InputError, match="at most 80"):
        gm.evaluate(generated, reference, extractor=tiny, num_images=85)


def test_statistics_of_another_extractor_are_refused(tiny: Path, tiny_classes: Path, tmp_path: Path) -> None:
    images = makers.pictures(30)
    gm.make_reference(images, extractor=tiny_classes).save(tmp_path / "real.npz")
    with pytest.raises(gm.FeatureMismatch, match="tiny-classes"):
        gm.evaluate(images, tmp_path / "real.npz", extractor=tiny)


def test_mixing_images_and_features_is_refused() -> None:
    with pytest.raises(gm.FeatureMismatch, match="features and the other of images"):
        gm.evaluate(makers.pictures(30), np.zeros((30, 5)))


def test_features_of_unlike_dimension_are_refused() -> None:
    with pytest.raises(gm.FeatureMismatch, match="5 feature dimensions"):
        gm.evaluate(np.random.default_rng(0).random((30, 5)), np.random.default_rng(0).random((30, 6)))


def test_the_fingerprint_follows_what_changes_numbers(tiny: Path, tiny_classes: Path) -> None:
    generated, reference = makers.pictures(30, seed=1), makers.pictures(30, seed=2)
    one = gm.evaluate(generated, reference, extractor=tiny)
    assert one.fingerprint == gm.evaluate(reference, generated, extractor=tiny, metrics="fd").fingerprint
    assert one.fingerprint != gm.evaluate(generated, reference, extractor=tiny_classes).fingerprint
    assert len({score.fingerprint for score in one.scores.values()}) == len(one.scores)


def test_a_report_survives_json(tiny: Path) -> None:
    report = gm.evaluate(makers.pictures(30, seed=1), makers.pictures(30, seed=2), extractor=tiny)
    again = gm.Report.from_json(report.to_json())
    assert again.to_json() == report.to_json()
    assert again.to_markdown() == report.to_markdown()
    with pytest.raises(gm.UnreadableInput):
        gm.Report.from_json('{"schema": "other/1"}')


def test_skipped_files_go_by_the_names_they_have_today(tiny: Path, tmp_path: Path) -> None:
    folder = makers.image_folder(tmp_path / "generated", 20)
    (folder / "0005.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    reference = gm.make_reference(makers.pictures(30, seed=2), extractor=tiny)
    gm.evaluate(folder, reference, extractor=tiny)
    for file in folder.iterdir():
        file.rename(folder / f"renamed-{file.name}")
    seen: list[gm.Progress] = []
    report = gm.evaluate(folder, reference, extractor=tiny, progress=seen.append)
    assert seen[-1].from_cache == 20 and report.generated.skipped[0].name == "renamed-0005.png"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", b"\x93NUMPY\x01\x00 damaged"])
def test_a_damaged_array_file_is_an_input_error(tiny: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "side.npy").write_bytes(content)
    with pytest.raises(gm.InputError, match=r"side\.npy"):
        gm.evaluate(tmp_path / "side.npy", makers.pictures(30), extractor=tiny)


def test_a_list_of_unlike_images_is_an_input_error(tiny: Path) -> None:
    images = [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)]
    with pytest.raises(gm.InputError, match="one shape"):
        gm.evaluate(images, makers.pictures(30), extractor=tiny)


def with_settings(folder: Path, **metrics: dict) -> Path:
    return makers.make_extractor(folder, protocol={**makers.PROTOCOL, "metrics": metrics})


def test_a_protocol_fixes_settings_for_images_and_for_saved_references(tmp_path: Path) -> None:
    extractor = with_settings(tmp_path / "e", fd={"ddof": 0}, kid={"degree": 2})
    sides = [makers.pictures(30, seed=seed) for seed in (1, 2)]
    report = gm.evaluate(*sides, extractor=extractor)
    assert report.scores["fd"].settings["ddof"] == 0
    features = [gm.extract_features(side, extractor=extractor).values for side in sides]
    assert report.scores["fd"].value == pytest.approx(gm.frechet_distance(*features, ddof=0), rel=1e-9)
    of_degree_2 = gm.kernel_distance(*features, subset_size=30, degree=2).mean
    assert report.scores["kid"].value == pytest.approx(of_degree_2, rel=1e-9)
    for index, side in enumerate(sides):
        gm.make_reference(side, extractor=extractor).save(tmp_path / f"{index}.npz")
    saved = gm.evaluate(tmp_path / "0.npz", tmp_path / "1.npz")
    assert values(saved) == pytest.approx(values(report), rel=1e-9) and saved.fingerprint == report.fingerprint


def test_a_setting_that_no_metric_has_is_refused(tmp_path: Path) -> None:
    extractor = with_settings(tmp_path / "e", kid={"subset_sizes": 7})
    with pytest.raises(gm.DamagedBundle, match="subset_sizes"):
        gm.evaluate(makers.pictures(20), makers.pictures(20, seed=1), extractor=extractor)


def test_the_seed_is_recorded_and_part_of_the_fingerprint_where_it_matters(tiny: Path) -> None:
    generated, reference = makers.pictures(40, seed=1), makers.pictures(40, seed=2)
    one, two = (gm.evaluate(generated, reference, extractor=tiny, seed=seed) for seed in (0, 7))
    assert (one.seed, two.seed) == (0, 7) and two.scores["prd_f8"].settings["seed"] == 7
    assert one.scores["prd_f8"].fingerprint != two.scores["prd_f8"].fingerprint
    assert one.scores["fd"].fingerprint == two.scores["fd"].fingerprint


def test_a_generator_never_meets_its_own_samples(tiny: Path, tiny_generator: Path) -> None:
    report = gm.evaluate(tiny_generator, tiny_generator, extractor=tiny, num_images=60)
    assert report.scores["fd"].value > 1e-4 and report.scores["kid"].value != 0


def test_features_against_a_reference_of_a_known_network_say_that_they_are_the_users(tiny: Path) -> None:
    reference = gm.make_reference(makers.pictures(40), extractor=tiny)
    report = gm.evaluate(np.random.default_rng(0).random((40, 12)), reference)
    assert report.extractor.numeric_id == "given" and "taken to be those of tiny" in report.extractor.title
    own = gm.make_reference(np.random.default_rng(0).random((40, 12)))
    with pytest.raises(gm.FeatureMismatch, match="features of the same network"):
        gm.evaluate(makers.pictures(20), own)


@pytest.mark.parametrize("option", [{"extractor": "scattering"}, {"protocol": "clean"}])
def test_an_extractor_is_not_ignored_in_silence(option: dict[str, str]) -> None:
    features = np.random.default_rng(0).random((40, 12))
    with pytest.raises(gm.InputError, match="features already"):
        gm.evaluate(features, features + 1, **option)


@pytest.mark.parametrize(
    "option", [{"seed": -1}, {"seed": 1.5}, {"num_images": 2.5}, {"num_images": 0}, {"threads": -1}]
)
def test_options_that_make_no_sense_are_input_errors(tiny: Path, option: dict) -> None:
    with pytest.raises(gm.InputError, match=next(iter(option))):
        gm.evaluate(makers.pictures(20), makers.pictures(20), extractor=tiny, **option)


def test_a_sample_says_its_size(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import genmetrics_rt.features as features

    monkeypatch.setattr(features.FeatureCollector.__init__, "__kwdefaults__", {"seed": 0, "max_kept": 25})
    report = gm.evaluate(makers.pictures(2_000, size=8), makers.pictures(30, seed=1), extractor=tiny)
    assert report.generated.num_images == 2_000
    for key in ("kid", "density", "coverage", "precision"):
        assert report.scores[key].details["num_generated_used"] == 25
    assert "num_generated_used" not in report.scores["fd"].details
