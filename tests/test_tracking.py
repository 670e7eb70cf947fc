"""Progress over training: paired differences, which checkpoint is the best beyond noise, and how that is shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from scipy import stats
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli_track import track as track_command
from genmetrics_rt.paired import holm, paired_difference
from genmetrics_rt.render.names import display_width
from genmetrics_rt.render.track_drawing import Panel, Point, curve_drawing
from genmetrics_rt.report import SideSummary
from genmetrics_rt.tracking import Track, _sentence, _standings, track
from genmetrics_rt.training_run import find_checkpoints, step_of
from genmetrics_rt.uncertainty import jackknifed
from tests import makers, reports


def scored(value: float | None, replicates: tuple[float, ...] = (), key: str = "kid", **changes: object) -> gm.Score:
    """A score whose standard error is the jackknife of its replicates."""
    noise = jackknifed(value, replicates) if replicates and value is not None else None
    made = reports.score(
        key,
        value,
        replicates=replicates,
        standard_error=noise.standard_error if noise else None,
        interval=noise.interval if noise else None,
    )
    return dataclasses.replace(made, **changes)


def run_of(**values: tuple[float | None, tuple[float, ...]]) -> Track:
    """A track of one score: ``s100=(value, replicates)``."""
    made = {
        int(name[1:]): reports.report(scores={"kid": scored(value, replicates)})
        for name, (value, replicates) in values.items()
    }
    return Track(made, _standings(made))


def around(value: float, scatter: float, own: float = 0.0) -> tuple[float, tuple[float, ...]]:
    """A value whose 20 replicates share one pattern, and have ``own`` of another besides."""
    shared, other = np.sin(np.arange(20.0)), np.cos(3 * np.arange(20.0))
    return value, tuple(value + scatter * shared + own * other)


# Paired differences ---------------------------------------------------------------------------------------------------


def test_the_paired_difference_by_hand() -> None:
    """d = 1, 2, 3: Σ (d − 2)² = 2, SE² = 2/3 · 2 = 4/3; t = 2/√(4/3) = √3 with 2 degrees of freedom.

    Student's t with 2 degrees of freedom has a closed form: P(|T| > t) = 1 − t/√(2 + t²), and the quantile at 0.975 is
    0.95/√(2 · 0.975 · 0.025).
    """
    found = paired_difference(scored(2.0, (1.0, 2.0, 3.0)), scored(0.0, (0.0, 0.0, 0.0)))
    assert found.paired and found.value == 2
    assert found.standard_error == pytest.approx((4 / 3) ** 0.5, rel=1e-12)
    assert found.p_value == pytest.approx(1 - 3**0.5 / 5**0.5, rel=1e-9)
    reach = 0.95 / (2 * 0.975 * 0.025) ** 0.5 * (4 / 3) ** 0.5
    assert found.interval == pytest.approx((2 - reach, 2 + reach), rel=1e-9)


def test_it_is_the_paired_t_test_of_a_mean() -> None:
    """Of means over equal groups: θ_g = (G θ − m_g)/(G − 1), so the statistic is that of a t-test on group means."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, (2, 20, 50))  # 20 groups of 50
    sides = []
    for values in (a, b):
        means = values.mean(axis=1)
        sides.append(scored(float(means.mean()), tuple((means.sum() - means) / 19)))
    found, expected = paired_difference(*sides), stats.ttest_rel(a.mean(axis=1), b.mean(axis=1))
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)


def test_what_both_share_drops_out() -> None:
    a, b = scored(*around(1.00, 0.2, 0.001)), scored(*around(1.02, 0.2, -0.001))
    assert a.interval[1] > b.interval[0] + 0.5  # the intervals overlap widely
    assert paired_difference(a, b).p_value < 0.05
    alone = paired_difference(dataclasses.replace(a, replicates=()), dataclasses.replace(b, replicates=()))
    assert alone.p_value > 0.9 and not alone.paired


def test_without_a_pair_the_standard_errors_are_taken_as_independent() -> None:
    a, b = scored(1.0, tuple(np.linspace(0.9, 1.1, 20))), scored(2.0, tuple(np.linspace(1.8, 2.2, 10)))
    found = paired_difference(a, b)
    assert not found.paired and found.value == -1
    assert found.standard_error == pytest.approx(np.hypot(a.standard_error, b.standard_error), rel=1e-12)
    reach = stats.t.ppf(0.975, 9) * found.standard_error  # of the fewer groups
    assert found.interval == pytest.approx((-1 - reach, -1 + reach), rel=1e-12)


def test_shares_at_a_bound_do_not_scatter_and_are_not_certain() -> None:
    """0 of 100 and 1 of 1: the replicates are all alike, and the rule of three is what is known."""
    a, b = (scored(v, (v,) * 20, key="recall", standard_error=0.01, interval=None) for v in (0.0, 1.0))
    found = paired_difference(a, b)
    assert not found.paired and found.standard_error == pytest.approx(0.01 * 2**0.5)
    same = paired_difference(a, a)
    assert (same.value, same.p_value) == (0, 1)


def test_what_is_not_known_is_none() -> None:
    unsure, sure, none = scored(1.0), scored(2.0, (1.0, 3.0)), scored(None)
    assert paired_difference(unsure, sure) == paired_difference(sure, unsure).__class__(-1.0)
    assert paired_difference(none, sure).value is None
    certain = [dataclasses.replace(scored(v, (v,) * 20), standard_error=0.0) for v in (1.0, 2.0)]
    assert paired_difference(*certain).p_value is None


def test_unlike_recipes_have_no_difference() -> None:
    with pytest.raises(gm.FeatureMismatch, match="unlike recipes"):
        paired_difference(scored(1.0), scored(1.0, fingerprint="other"))


def test_holm_by_hand() -> None:
    """0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1 raised to the one before; 0.5 · 2 is cut at 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


# Finding checkpoints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step_00100", 100), ("step-250", 250), ("epoch=3-step=1200", 1200), ("network-snapshot-000200", 200),
        ("run2_step_50_seed7", 50), ("fakes-300.zip", 300), ("v1.5-400.tar.gz", 400), ("17", 17), ("final", None),
    ],
)  # fmt: skip
def test_the_step_is_the_number_in_the_name(name: str, step: int | None) -> None:
    assert step_of(name) == step


def folders(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).mkdir(parents=True)
    return [root / name for name in names]


def test_checkpoints_of_a_folder_in_the_order_of_training(tmp_path: Path) -> None:
    folders(tmp_path, "step_900", "step_1000", "logs", ".step_5")
    (tmp_path / "step_20.txt").write_text("")
    (tmp_path / "step_20.zip").write_text("")
    assert list(find_checkpoints(tmp_path)) == [20, 900, 1000]


def test_several_paths_are_checkpoints_or_folders_of_them(tmp_path: Path) -> None:
    first, second = folders(tmp_path, "run/step_1", "run/step_2")
    sorted_by_class, _, _ = folders(tmp_path, "out-30", "out-30/0", "out-30/1")  # classes are no steps
    assert find_checkpoints([tmp_path / "run", sorted_by_class]) == {1: first, 2: second, 30: sorted_by_class}
    assert list(find_checkpoints({7: "b", 3: "a"})) == [3, 7]


def test_the_shipped_example_has_its_ten_checkpoints() -> None:
    """The steps at which `python -m export examples` kept the GAN (examples/README.md)."""
    assert list(find_checkpoints("digits-gan-checkpoints")) == [
        100, 250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000,
    ]  # fmt: skip


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    folders(tmp_path, "a/step_1", "b/step_01", "c/images")
    with pytest.raises(gm.InputError, match="are both step 1"):
        find_checkpoints([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(gm.InputError, match="is no checkpoint and holds none"):
        find_checkpoints(tmp_path / "c")
    with pytest.raises(gm.MissingInput, match="digits-gan-checkpoints digits"):
        find_checkpoints(tmp_path / "nowhere")
    with pytest.raises(gm.InputError, match="there is 1"):
        track(tmp_path / "a", "digits")
    with pytest.raises(gm.InputError, match="whole number"):
        find_checkpoints({"one": "a"})


# Which is the best ----------------------------------------------------------------------------------------------------


def test_the_best_is_marked_where_it_beats_every_other() -> None:
    done = run_of(s100=around(2.0, 0.2, 0.01), s200=around(1.0, 0.2, -0.01), s300=around(1.5, 0.2, 0.01))
    standing = done.standings["kid"]
    assert standing.leader == 200 and standing.beyond_noise
    assert _sentence(standing) == "Step 200 is the best, beyond noise."
    assert standing.differences[100].value == pytest.approx(-1.0)
    (line,) = [line for line in done.to_text().splitlines() if line.startswith("200 ")]
    assert line.endswith("*") and done.to_text().count("*") == 2  # the mark, and the note that explains it


def test_no_winner_is_named_within_noise() -> None:
    done = run_of(s100=around(5.0, 0.2, 0.01), s200=around(1.0, 0.2, 0.02), s300=around(1.01, 0.2, -0.02))
    standing = done.standings["kid"]
    assert not standing.beyond_noise and standing.not_told_apart == (300,)
    assert "No checkpoint is better than all others beyond noise: step 200 has the lowest value" in _sentence(standing)
    assert "300 may be as good" in _sentence(standing)
    text = done.to_text()
    assert [line.split()[0] for line in text.splitlines() if line.endswith("~")] == ["200", "300"]


def test_nobody_is_better_than_anybody() -> None:
    done = run_of(s1=around(1.0, 0.1, 0.5), s2=around(1.01, 0.1, -0.5))
    assert _sentence(done.standings["kid"]).startswith("No checkpoint is better than another beyond noise")


def test_holm_raises_the_bar_with_the_number_of_checkpoints() -> None:
    """A difference at p = 0.03 is beyond noise among two checkpoints and not among three."""
    base = np.zeros(20)
    pattern = np.tile([1.0, -1.0], 10)
    error = float(jackknifed(0.0, pattern).standard_error)
    gap = stats.t.isf(0.015, 19) * error
    best = (0.0, tuple(base))
    other = (gap, tuple(gap + pattern))
    assert run_of(s1=best, s2=other).standings["kid"].beyond_noise
    assert run_of(s1=best, s2=other, s3=other).standings["kid"].not_told_apart == (2, 3)


def test_higher_is_better_where_the_score_says_so() -> None:
    made = {step: reports.with_scores({"recall": value}) for step, value in ((1, 0.2), (2, 0.5))}
    standing = _standings(made)["recall"]
    assert standing.leader == 2 and "highest" in _sentence(standing)


def test_without_standard_errors_nothing_is_marked() -> None:
    done = run_of(s1=(1.0, ()), s2=(2.0, ()))
    assert "not known" in _sentence(done.standings["kid"]) and not done.standings["kid"].beyond_noise
    assert not [line for line in done.to_text().splitlines() if line.endswith(("*", "~"))]


def test_a_checkpoint_without_a_value_is_left_out() -> None:
    done = run_of(s1=around(1.0, 0.1), s2=(None, ()), s3=around(2.0, 0.1, 0.01))
    assert set(done.standings["kid"].differences) == {3}
    assert " none" in done.to_text() and json.loads(done.to_json())["checkpoints"][1]["scores"]["kid"]["value"] is None
    assert "kid" not in run_of(s1=around(1.0, 0.1), s2=(None, ())).standings


# Showing it -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 110])
def test_no_line_is_too_wide(width: int) -> None:
    made = {step: reports.report() for step in (100, 2000, 100_000)}
    text = Track(made, _standings(made)).to_text(width=width)
    assert max(map(display_width, text.splitlines())) <= width
    assert "100,000" in text and str(Track(made, {})) == Track(made, {}).to_text()


def test_json_holds_scores_replicates_and_verdicts() -> None:
    record = json.loads(run_of(s100=around(2.0, 0.2, 0.01), s200=around(1.0, 0.2, -0.01)).to_json())
    assert record["schema"] == "genmetrics.track/1"
    assert [entry["step"] for entry in record["checkpoints"]] == [100, 200]
    assert len(record["checkpoints"][0]["scores"]["kid"]["replicates"]) == 20
    (difference,) = record["standings"]["kid"]["differences"]
    assert difference["step"] == 100 and difference["paired"] and difference["corrected_p_value"] < 0.05


def test_the_page_is_complete_in_itself() -> None:
    hostile = "<script>alert(1)</script>"
    made = {
        step: reports.report(reference=SideSummary(1797, hostile, "a7")) for step in (100, 200)
    }  # fmt: skip
    text = Track(made, _standings(made), (hostile,)).to_html()
    page = reports.Page(text)
    assert "<script" not in text.lower() and "http:" not in text and "https:" not in text
    assert [source for source in page.having("src") + page.having("href") if not source.startswith("data:")] == []
    assert "default-src 'none'" in text and hostile in page.text
    assert sum(tag == "svg" and "plot" in keys.get("class", "") for tag, keys in page.tags) == len(reports.VALUES)


def test_hollow_marks_are_worse_beyond_noise() -> None:
    done = run_of(s100=around(5.0, 0.2, 0.01), s200=around(1.0, 0.2, 0.02), s300=around(1.01, 0.2, -0.02))
    circles = [keys["class"] for tag, keys in reports.Page(done.to_html()).tags if tag == "circle"]
    assert circles == ["mark hollow", "mark", "mark"]


def placed(panel: Panel) -> list[tuple[float, float]]:
    drawn = reports.Page(curve_drawing(panel)).tags
    return [(float(keys["cx"]), float(keys["cy"])) for tag, keys in drawn if tag == "circle"]


def panel(points: list[tuple[int, float]], **changes: object) -> Panel:
    made = Panel("kid", "KID", "lower is better", tuple(Point(*point) for point in points), "")
    return dataclasses.replace(made, **changes)


def test_steps_stand_evenly_or_by_their_powers() -> None:
    even = [x for x, _ in placed(panel([(100, 1.0), (200, 2.0), (300, 1.0)]))]
    assert even[1] - even[0] == pytest.approx(even[2] - even[1], abs=0.11)
    powers = [x for x, _ in placed(panel([(10, 1.0), (100, 2.0), (1000, 1.0)]))]
    assert powers[1] - powers[0] == pytest.approx(powers[2] - powers[1], abs=0.11)
    assert "step logarithmic" in curve_drawing(panel([(10, 1.0), (100, 2.0), (1000, 1.0)]))


def test_a_distance_that_falls_far_is_drawn_by_its_powers_and_a_share_is_not() -> None:
    points = [(1, 100.0), (2, 10.0), (3, 1.0)]
    ys = [y for _, y in placed(panel(points, is_distance=True))]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.11)
    ys = [y for _, y in placed(panel(points))]
    assert (ys[1] - ys[0]) == pytest.approx(10 * (ys[2] - ys[1]), rel=0.05)


@pytest.mark.parametrize("values", [[0.0, 0.0], [-1e-9, -1e-9], [1e-12, 5e9], [0.5], [-3.0, 4.0]])
def test_odd_values_are_drawn_inside_the_plot(values: list[float]) -> None:
    points = [(step, value) for step, value in enumerate(values)]
    for is_distance in (False, True):
        made = panel(points, is_distance=is_distance)
        assert all(58 <= x <= 326 and 14 <= y <= 196 for x, y in placed(made))


# End to end -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures at each of three steps; those of step 300 are half of the reference itself."""
    root = tmp_path_factory.mktemp("training")
    for step, count in ((100, 4), (200, 5), (300, 9)):
        makers.image_folder(root / "run" / f"step_{step}", 60, seed=count)
    makers.image_folder(root / "real", 60, seed=9)
    return root


def test_each_report_is_that_of_evaluate(training: Path, tiny: Path) -> None:
    stages: list[tuple[str, int]] = []
    done = track(
        training / "run", training / "real", extractor=tiny, metrics="fd,kid,recall", cache=False,
        progress=lambda state: stages.append((state.stage, state.done)),
    )  # fmt: skip
    assert list(done.reports) == [100, 200, 300]
    alone = gm.evaluate(
        training / "run" / "step_100", training / "real", extractor=tiny, metrics="fd,kid,recall", cache=False
    )
    assert done.reports[100].scores == alone.scores
    assert [stage for stage, finished in stages if finished == 60] == ["reference", "step 100", "step 200", "step 300"]
    # Step 300 holds the pictures of the reference: both distances are lowest there.
    assert {done.standings[key].leader for key in ("fd", "kid")} == {300}
    assert all(len(report.scores["kid"].replicates) == 20 for report in done.reports.values())


def test_features_and_saved_references_are_sides_too(training: Path, tiny: Path) -> None:
    rng = np.random.default_rng(0)
    done = track({1: rng.normal(1, 1, (60, 4)), 2: rng.normal(0, 1, (60, 4))}, rng.normal(0, 1, (60, 4)), metrics="fd")
    assert done.standings["fd"].leader == 2 and done.standings["fd"].beyond_noise
    saved = gm.make_reference(training / "real", extractor=tiny)
    assert track(training / "run", saved, extractor=tiny, metrics="fd").standings["fd"].leader == 300


def test_unlike_numbers_of_images_are_noted() -> None:
    rng = np.random.default_rng(0)
    done = track({1: rng.normal(size=(50, 4)), 2: rng.normal(size=(60, 4))}, rng.normal(size=(60, 4)), metrics="fd,kid")
    assert "numbers of generated images differ, and fd depend" in done.notes[0] and "50 to 60 images" in done.to_text()


def test_the_command(training: Path, tiny: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(track_command)
    paths = [str(training / "run"), str(training / "real")]
    options = ["-e", str(tiny), "-m", "fd,kid", "-q"]
    result = CliRunner().invoke(app, [*paths, *options, "--json", str(tmp_path / "t.json"), "--html",
                                      str(tmp_path / "t.html")])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "step" in result.stdout and "300" in result.stdout
    assert json.loads((tmp_path / "t.json").read_text())["checkpoints"][2]["step"] == 300
    assert (tmp_path / "t.html").read_text().startswith("<!doctype html>")
    several = [str(training / "run" / f"step_{step}") for step in (100, 200)]
    result = CliRunner().invoke(app, [*several, paths[1], *options, "--json", "-"])
    assert [entry["step"] for entry in json.loads(result.stdout)["checkpoints"]] == [100, 200]
    result = CliRunner().invoke(app, [str(tmp_path / "nowhere"), paths[1], *options])
    assert result.exit_code == 2 and "does not exist" in result.output
