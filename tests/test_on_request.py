"""Metrics that are reported when asked for: by name, through the whole pipeline, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.metrics.alpha_precision import alpha_precision
from genmetrics_rt.metrics.on_request import ON_REQUEST
from genmetrics_rt.metrics.rbf_distance import rbf_distance
from genmetrics_rt.metrics.two_sample import nearest_neighbour_accuracy
from genmetrics_rt.metrics.vendi import vendi_score
from tests import makers, protocols

RNG = np.random.default_rng(0)
G = (RNG.standard_normal((400, 8)) + 0.3).astype(np.float32)
R = RNG.standard_normal((500, 8)).astype(np.float32)
KEYS = [key for metric in ON_REQUEST for key in metric.keys if not metric.needs_logits]


@pytest.fixture(scope="module")
def report() -> gm.Report:
    return gm.evaluate(G, R, metrics=KEYS)


def test_all_are_there_when_asked_for_and_none_otherwise(report: gm.Report) -> None:
    assert list(report.scores) == KEYS and all(score.value is not None for score in report.scores.values())
    assert not set(gm.evaluate(G, R, intervals=False).scores) & set(KEYS)
    assert gm.Report.from_json(report.to_json()).scores == report.scores
    for text in (report.to_text(), report.to_markdown(), report.to_html()):
        assert "Vendi score" in text


def test_they_do_not_change_the_fingerprint_of_other_reports(report: gm.Report) -> None:
    assert report.fingerprint == gm.evaluate(G, R, metrics="kid", intervals=False).fingerprint


def test_each_is_its_function(report: gm.Report) -> None:
    values = {key: score.value for key, score in report.scores.items()}
    assert values["rbf"] == pytest.approx(rbf_distance(G, R), rel=1e-12)
    found = alpha_precision(G, R)
    assert values["alpha_precision"] == pytest.approx(found.delta_precision_alpha)
    assert values["beta_recall"] == pytest.approx(found.delta_coverage_beta)
    assert values["authenticity"] == pytest.approx(found.authenticity)
    assert values["vendi"] == pytest.approx(vendi_score(G))
    assert report.scores["vendi"].details["images_per_side"] == 400
    twin = gm.evaluate(G, R[:400], metrics="nearest_neighbour").scores["nearest_neighbour"]
    assert twin.value == nearest_neighbour_accuracy(G, R[:400]).accuracy
    details = report.scores["two_sample"].details
    seen = [details[f"{side}_seen_as_{other}"] for side in ("real", "generated") for other in ("real", "generated")]
    assert (seen[0] + seen[3]) / sum(seen) == pytest.approx(values["two_sample"])
    assert values["fd_inf"] < gm.evaluate(G, R, metrics="fd").scores["fd"].value


def test_published_names_on_the_network_of_fid(tmp_path: Path) -> None:
    six = protocols.make_six(tmp_path / "six")
    sides = [makers.image_folder(tmp_path / name, 80, seed=seed) for name, seed in (("out", 1), ("real", 2))]
    report = gm.evaluate(*sides, extractor=six, metrics="fid_inf,is_inf", intervals=False)
    assert list(report.scores) == ["fid_inf", "is_inf"]
    assert report.scores["fid_inf"].name.startswith("FID∞") and report.scores["is_inf"].value >= 1


def test_another_name_is_led_to_the_right_one() -> None:
    for asked, named in (("cmmd", "'rbf'"), ("c2st", "'two_sample'"), ("fid_inf", "'fd_inf'")):
        with pytest.raises(gm.UnknownMetric, match=named):
            gm.evaluate(G, R, metrics=asked)
