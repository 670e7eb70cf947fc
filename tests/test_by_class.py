"""Scores by class: how classes are told, how often they occur, and what each one scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.by_class import MIN_IMAGES, ByClass, _p_value, evaluate_by_class
from genmetrics_rt.class_labels import label_table
from genmetrics_rt.cli_track import show_by_class
from genmetrics_rt.render.names import display_width
from tests import makers, protocols

RNG = np.random.default_rng(0)


def features(**sizes: int) -> tuple[np.ndarray, list[str]]:
    """Standard normal features (N, 4) with so many of each class."""
    labels = [name for name, size in sizes.items() for _ in range(size)]
    return np.random.default_rng(len(labels)).normal(size=(len(labels), 4)), labels


def by_class(generated: dict[str, int], reference: dict[str, int], **options: object) -> ByClass:
    (g, of_g), (r, of_r) = features(**generated), features(**reference)
    return evaluate_by_class(g, r, generated_labels=of_g, reference_labels=of_r, **options)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Cats 50 : 50 and dogs 25 : 50, with birds in the reference and fish in the generated only."""
    root = tmp_path_factory.mktemp("classes")
    for side, classes in (("out", ("cat:50", "dog:25", "fish:3")), ("real", ("cat:50", "dog:50", "bird:4"))):
        for number, entry in enumerate(classes):
            name, size = entry.split(":")
            makers.image_folder(root / side / name, int(size), seed=10 * number + (side == "real"))
    return root / "out", root / "real"


# How often ------------------------------------------------------------------------------------------------------------


def test_the_share_of_a_class_is_compared_exactly() -> None:
    """3 of 4 against 1 of 4, Fisher's tasting of tea: (1 + 16 + 16 + 1)/70 as extreme or more, 34/70 (Fisher 1935)."""
    assert _p_value(3, 4, 1, 4) == pytest.approx(34 / 70, rel=1e-9)
    assert _p_value(10, 20, 10, 20) == pytest.approx(1.0)


def test_missing_invented_and_unbalanced_classes() -> None:
    done = by_class({"a": 300, "b": 30, "c": 125, "new": 9}, {"a": 100, "b": 100, "c": 100, "gone": 40})
    assert {entry.name: entry.standing for entry in done.classes} == {
        "a": "over", "b": "under", "c": "even", "gone": "missing", "new": "invented",
    }  # fmt: skip
    assert [entry.name for entry in done.classes][:2] == ["gone", "new"]
    b = next(entry for entry in done.classes if entry.name == "b")
    assert (b.num_generated, b.num_reference) == (30, 100)
    assert (b.share_generated, b.share_reference) == pytest.approx((30 / 464, 100 / 340))
    assert done.summary() == [
        "Never generated, though the reference has them: gone.",
        "Generated, though the reference has none: new.",
        "Generated too rarely, beyond noise: b.",
        "Generated too often, beyond noise: a.",
    ]


def test_equal_shares_are_no_finding_and_holm_counts_the_classes() -> None:
    """12 : 25 of 100 a side is p = 0.0295 by Fisher's test: noise among four classes, beyond it alone."""
    done = by_class({"a": 30, "b": 29, "c": 29, "d": 12}, {"a": 25, "b": 25, "c": 25, "d": 25})
    assert _p_value(12, 100, 25, 100) < 0.05
    assert {entry.standing for entry in done.classes} == {"even"}
    assert done.summary() == ["No class is generated too often or too rarely beyond noise."]
    assert all(entry.p_value > 0.05 for entry in done.classes)


# What each scores -----------------------------------------------------------------------------------------------------


def test_the_worst_class_comes_first_after_the_missing_ones() -> None:
    (g, of_g), (r, of_r) = features(a=60, b=60, c=60), features(a=60, b=60, c=60, d=60)
    g[np.array(of_g) == "b"] += 3
    g[np.array(of_g) == "c"] += 1
    done = evaluate_by_class(g, r, generated_labels=of_g, reference_labels=of_r, metrics="fd,kid")
    assert [entry.name for entry in done.classes] == ["d", "b", "c", "a"]
    assert done.classes[0].scores == {} and done.classes[0].standing == "missing"
    values = [entry.scores["kid"].value for entry in done.classes[1:]]
    assert values == sorted(values, reverse=True)
    assert all(entry.scores["kid"].standard_error for entry in done.classes[1:])


def test_a_class_scores_what_its_images_score_alone() -> None:
    (g, of_g), (r, of_r) = features(a=50, b=60), features(a=70, b=60)
    done = evaluate_by_class(g, r, generated_labels=of_g, reference_labels=of_r)
    for entry in done.classes:
        mine, theirs = (x[np.array(of) == entry.name] for x, of in ((g, of_g), (r, of_r)))
        alone = gm.evaluate(mine, theirs, metrics="fd,kid,precision,recall")
        assert {key: s.value for key, s in entry.scores.items()} == {key: s.value for key, s in alone.scores.items()}
        assert entry.scores["fd"].fingerprint == alone.scores["fd"].fingerprint
    whole = gm.evaluate(g, r, metrics="fd,kid,precision,recall")
    assert {key: s.value for key, s in done.all_images.items()} == {key: s.value for key, s in whole.scores.items()}


def test_sfid_of_a_class_is_that_of_its_images_alone(sides: tuple[Path, Path], tmp_path: Path) -> None:
    options = {"extractor": protocols.make_six(tmp_path / "six"), "protocol": "adm", "metrics": "sfid,kid"}
    done = evaluate_by_class(*sides, **options)
    cat = next(entry for entry in done.classes if entry.name == "cat")
    alone = gm.evaluate(sides[0] / "cat", sides[1] / "cat", **options).scores["sfid"]
    assert cat.scores["sfid"].value == pytest.approx(alone.value, rel=1e-5) and alone.value > 0
    assert cat.scores["sfid"].standard_error == pytest.approx(alone.standard_error, rel=1e-4)
    assert "sfid" not in evaluate_by_class(*sides, **{**options, "metrics": None}).all_images

    # A saved reference has no rows of the spatial tap.
    saved = tmp_path / "real.npz"
    gm.make_reference(sides[1], extractor=options["extractor"], protocol="adm").save(saved)
    names = [path.parent.name for path in sorted(sides[1].rglob("*.png"))]
    done = evaluate_by_class(sides[0], saved, reference_labels=names, **options)
    assert done.all_images["sfid"].value > 0
    cat = next(entry for entry in done.classes if entry.name == "cat")
    assert cat.scores["sfid"].value is None and cat.scores["kid"].value is not None
    assert any("No class has an sFID: the reference side has no rows" in note for note in done.notes)


def test_a_class_with_few_images_is_counted_and_not_scored() -> None:
    done = by_class({"a": 60, "b": MIN_IMAGES - 1}, {"a": 60, "b": 60})
    b = next(entry for entry in done.classes if entry.name == "b")
    assert b.scores == {} and b.reason == f"fewer than {MIN_IMAGES} images on a side"
    assert any("1 of 2 classes have no scores" in note for note in done.notes)


# How classes are told -------------------------------------------------------------------------------------------------


def test_the_class_is_the_first_folder_and_features_are_computed_once(sides: tuple[Path, Path], tiny: Path) -> None:
    finished: list[tuple[str, int]] = []
    done = evaluate_by_class(
        *sides, extractor=tiny, cache=False,
        progress=lambda state: finished.append((state.stage, state.total)) if state.done == state.total else None,
    )  # fmt: skip
    assert finished == [("reference", 104), ("generated", 78)]
    assert {entry.name: (entry.num_generated, entry.num_reference) for entry in done.classes} == {
        "cat": (50, 50), "dog": (25, 50), "fish": (3, 0), "bird": (0, 4),
    }  # fmt: skip
    cat = next(entry for entry in done.classes if entry.name == "cat")
    alone = gm.evaluate(sides[0] / "cat", sides[1] / "cat", extractor=tiny, metrics="fd,recall")
    assert cat.scores["fd"].value == pytest.approx(alone.scores["fd"].value, rel=1e-5)
    assert cat.scores["recall"].value == alone.scores["recall"].value


@pytest.mark.parametrize("kind", ["csv", "headed", "json", "mapping", "sequence"])
def test_labels_give_the_same_as_folders(sides: tuple[Path, Path], tiny: Path, tmp_path: Path, kind: str) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    table = {}
    for path in sorted(sides[0].rglob("*.png")):
        name = f"{path.parent.name}-{path.name}"
        shutil.copy(path, flat / name)
        table[name] = path.parent.name
    lines = "".join(f"{name}, {of}\n" for name, of in table.items())
    labels = {
        "csv": lines, "headed": f"name,class\n{lines}", "json": json.dumps(table), "mapping": table,
        "sequence": np.array(list(table.values())),
    }[kind]  # fmt: skip
    if isinstance(labels, str):
        file = tmp_path / f"labels.{'json' if kind == 'json' else 'csv'}"
        file.write_text(labels)
        labels = file
    done = evaluate_by_class(flat, sides[1], generated_labels=labels, extractor=tiny, metrics="recall")
    assert {entry.name: entry.num_generated for entry in done.classes} == {"cat": 50, "dog": 25, "fish": 3, "bird": 0}


def test_what_has_no_class_is_named(sides: tuple[Path, Path], tiny: Path, tmp_path: Path) -> None:
    flat = makers.image_folder(tmp_path / "flat", 5)
    with pytest.raises(gm.InputError, match=r"5 of 5 images lie in no class folder.*0000\.png"):
        evaluate_by_class(flat, sides[1], extractor=tiny)
    with pytest.raises(gm.InputError, match=r"4 of 5 images have no label.*0001\.png"):
        evaluate_by_class(flat, sides[1], generated_labels={"0000.png": "cat"}, extractor=tiny)
    with pytest.raises(gm.InputError, match=r"no class in common.*images.*bird, cat, dog"):
        evaluate_by_class(flat, sides[1], generated_labels=["images"] * 5, extractor=tiny)
    with pytest.raises(gm.InputError, match="3 labels were given"):
        evaluate_by_class(flat, sides[1], generated_labels=["cat"] * 3, extractor=tiny)
    rows = RNG.normal(size=(30, 4))
    with pytest.raises(gm.InputError, match="no file names"):
        evaluate_by_class(rows, rows)


def test_statistics_have_no_classes(tmp_path: Path) -> None:
    rows = RNG.normal(size=(60, 4))
    np.savez(tmp_path / "stats.npz", mu=rows.mean(axis=0), sigma=np.cov(rows.T))
    with pytest.raises(gm.InputError, match="only mean and covariance"):
        evaluate_by_class(
            rows, tmp_path / "stats.npz", generated_labels=["a"] * 60, reference_labels=["a"] * 60, metrics="fd"
        )


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "x.png,cat,1\n", "line 1: 3 cells instead"), ("a.csv", "", "holds no labels"),
        ("a.csv", "x.png,cat\nx.png,dog\n", "line 2: x.png has two classes, cat and dog"),
        ("a.json", "[1, 2]", "no JSON object"), ("a.json", "{", "is no JSON"),
    ],
)  # fmt: skip
def test_damaged_label_files_are_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(gm.InputError, match=told):
        label_table(tmp_path / name)


def test_a_missing_label_file_is_said_before_any_work(sides: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(gm.MissingInput, match="does not exist"):
        evaluate_by_class(*sides, generated_labels=tmp_path / "none.csv")


# Showing it -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 110])
def test_no_line_is_too_wide(width: int) -> None:
    done = by_class({"a": 60, "b" * 90: 60, "\x1b[31m": 60}, {"a": 60, "c": 60})
    text = done.to_text(width=width)
    assert max(map(display_width, text.splitlines())) <= width
    assert "\x1b" not in text and "all images" in text and str(done) == done.to_text()


def test_json_holds_every_class() -> None:
    done = by_class({"a": 60, "b": 60}, {"a": 60, "b": 60, "gone": 60})
    record = json.loads(done.to_json())
    assert record["schema"] == "genmetrics.by-class/1" and record["reference"]["num_images"] == 180
    assert [entry["name"] for entry in record["classes"]] == [entry.name for entry in done.classes]
    assert record["classes"][1]["scores"]["kid"]["value"] == done.classes[1].scores["kid"].value
    assert set(record["all_images"]) == {"fd", "kid", "precision", "recall"}


def test_the_command(sides: tuple[Path, Path], tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_by_class(
        str(sides[0]), str(sides[1]), json_file=str(tmp_path / "c.json"), quiet=True, extractor=str(tiny), metrics="kid"
    )
    told = " ".join(capsys.readouterr().out.split())
    assert "Never generated, though the reference has them: bird (may be chance)." in told  # 4 of 104 against 0 of 78
    assert json.loads((tmp_path / "c.json").read_text())["classes"][0]["name"] == "bird"
