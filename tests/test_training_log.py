"""Training logs: what files are read, and what is said of a training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt import tables
from genmetrics_rt.cli import app
from genmetrics_rt.errors import InputError, MissingInput, UnreadableInput
from genmetrics_rt.metrics.adversarial import DiscriminatorStatistics, GanLosses
from genmetrics_rt.sides import EXAMPLES
from genmetrics_rt.training_log import TrainingLog, num_swings
from genmetrics_rt.training_log_files import read_training_log

SHIPPED = EXAMPLES / "digits-gan-training.csv"


def log_of(tmp_path: Path, text: str, encoding: str = "utf-8") -> TrainingLog:
    path = tmp_path / "log"
    path.write_text(text, encoding=encoding)
    return gm.read_training_log(path)


# CSV


def test_the_shipped_log_reads() -> None:
    """examples/README.md: 100 training, 100 held-out and 100 generated pictures at each of 34 steps."""
    log = read_training_log(SHIPPED)
    assert log.step_numbers[[0, 1, -1]].tolist() == [0, 100, 8000] and len(log.steps) == 34
    assert all(entry.num_pictures == 200 for entry in log.steps)
    rows = np.genfromtxt(SHIPPED, delimiter=",", names=True)
    rows = rows[rows["step"] == 8000]
    right = (rows["real_logit"] > 0).sum() + (rows["generated_logit"] <= 0).sum()
    assert log.accuracies[-1] == log.steps[-1].accuracy == right / 200
    assert log.held_out_recalls[-1] == (rows["held_out_logit"] > 0).mean()
    assert len(log.last) == 8
    # Its losses are non-saturating, of the pictures of each step, in five digits.
    assert log.losses_from == "log"
    assert log.discriminator_losses[[0, -1]] == pytest.approx([1.38841, rows["d_loss"][0]], abs=1e-12)
    computed = gm.gan_losses(rows["real_logit"], rows["generated_logit"])
    assert (log.discriminator_losses[-1], log.generator_losses[-1]) == pytest.approx(computed, abs=1e-4)


def test_arrays_are_those_of_the_steps() -> None:
    log = read_training_log(SHIPPED)
    for array, name in (
        (log.precisions, "precision"),
        (log.recalls, "recall"),
        (log.aucs, "auc"),
        (log.accuracies, "accuracy"),
        (log.held_out_recalls, "held_out_recall"),
    ):
        assert array.shape == (34,)
        assert array.tolist() == [getattr(entry, name) for entry in log.steps]


def test_unequal_numbers_and_order_of_steps(tmp_path: Path) -> None:
    log = log_of(tmp_path, "step,real_logit,generated_logit\n20,1,-1\n\n10,1,-1\n10,,2\n10\n")
    assert log.step_numbers.tolist() == [10, 20]
    assert log.steps[0].accuracy == pytest.approx(2 / 3)
    assert log.last_held_out_recall is None
    assert np.isnan(log.held_out_recalls).all()


def test_a_byte_order_mark_spaces_and_other_columns_are_no_matter(tmp_path: Path) -> None:
    text = " step , note,real_logit, generated_logit\r\n1,good, 2 ,-1\r\n"
    for encoding in ("utf-8", "utf-8-sig"):
        assert log_of(tmp_path, text, encoding).steps[0].accuracy == 1
    assert log_of(tmp_path, '{"step": 1, "real_logit": 2, "generated_logit": -1}', "utf-8-sig").steps[0].accuracy == 1


def test_losses_come_from_the_log_or_from_the_logits(tmp_path: Path) -> None:
    head, rows = "step,real_logit,generated_logit", ["1,0,0", "1,0,0", "2,-5,10"]
    none = log_of(tmp_path, "\n".join([head, *rows]))
    assert none.losses_from == "logits"
    assert none.discriminator_losses == pytest.approx([2 * math.log(2), 15], abs=1e-2)
    assert none.generator_losses == pytest.approx([math.log(2), 0], abs=1e-4)
    both = log_of(
        tmp_path, "\n".join([head + ",discriminator_loss,generator_loss", "1,0,0,3,4", "1,0,0,5,", "2,0,0,7,nan"])
    )
    assert (both.losses_from, both.discriminator_losses.tolist()) == ("log", [4, 7])
    assert both.generator_losses == pytest.approx([4, math.nan], nan_ok=True)
    # One of the two, or not at every step: all are computed, so that a curve is of one kind.
    for missing in ([head + ",d_loss", "1,0,0,3"], [head + ",d_loss,g_loss", "1,0,0,3,4", "2,0,0,,4"]):
        log = log_of(tmp_path, "\n".join(missing))
        assert log.losses_from == "logits"
        assert log.discriminator_losses == pytest.approx([2 * math.log(2)] * len(log.steps))


def test_logged_losses_of_a_training_that_diverged_stay_as_they_are(tmp_path: Path) -> None:
    head = "step,real_logit,generated_logit,d_loss,g_loss\n"
    log = log_of(tmp_path, head + "1,0,0,inf,1e308\n1,0,0,-inf,1e308\n")
    assert np.isnan(log.discriminator_losses[0]) and log.generator_losses[0] == math.inf


# JSON lines


def test_json_lines_hold_numbers_or_lists(tmp_path: Path) -> None:
    lines = [
        {"step": 1, "real_logit": [1.0, -1], "generated_logit": [[-1.0], [2], [-3]], "held_out_logit": None},
        {"step": 2, "real_logit": 1, "generated_logit": -0.5, "held_out_logit": [1, -1], "d_loss": 1, "note": {}},
        {"step": 1.0, "real_logit": [], "generated_logit": [-4.0]},
    ]
    log = log_of(tmp_path, "\n\n".join(map(json.dumps, lines)) + "\n")
    assert log.step_numbers.tolist() == [1, 2]
    assert log.steps[0].num_pictures == 6 and log.steps[0].accuracy == pytest.approx(4 / 6)
    assert log.held_out_recalls == pytest.approx([math.nan, 0.5], nan_ok=True)
    assert log.losses_from == "logits"


def test_json_lines_say_what_the_same_csv_says(tmp_path: Path) -> None:
    rows = np.genfromtxt(SHIPPED, delimiter=",", names=True)
    lines = []
    for step in np.unique(rows["step"]).tolist():
        own = rows[rows["step"] == step]
        logits = {name: own[name].tolist() for name in ("real_logit", "generated_logit", "held_out_logit")}
        losses = {"discriminator_loss": own["d_loss"][0], "generator_loss": own["g_loss"][0]}
        lines.append(json.dumps({"step": step, **logits, **losses}))
    found, expected = log_of(tmp_path, "\n".join(lines)), read_training_log(SHIPPED)
    assert found.steps == expected.steps and found.verdict == expected.verdict
    assert found.discriminator_losses == pytest.approx(expected.discriminator_losses, abs=1e-12)


# Probabilities


def test_probabilities_stand_in_for_logits(tmp_path: Path) -> None:
    """The textbook case: .9 .8 .4 against .7 .4 .1."""
    text = "step,real_probability,generated_probability,held_out_probability\n1,.9,.7,.5\n1,.8,.4,.51\n1,.4,.1,\n"
    log = log_of(tmp_path, text)
    entry = log.steps[0]
    assert (entry.accuracy, entry.auc, entry.held_out_recall) == pytest.approx((2 / 3, 7.5 / 9, 0.5))
    d_loss = -(math.log(0.9 * 0.8 * 0.4) + math.log(0.3 * 0.6 * 0.9)) / 3
    assert log.discriminator_losses == pytest.approx([d_loss], abs=1e-12)


def test_a_probability_is_real_exactly_above_one_half(tmp_path: Path) -> None:
    edge = [float(np.nextafter(0.5, 0)), 0.5, float(np.nextafter(0.5, 1))]
    log = log_of(tmp_path, json.dumps({"step": 0, "real_probability": edge, "generated_probability": 5e-324}))
    assert (log.steps[0].real_as_real, log.steps[0].real_as_generated) == (1, 2)
    assert log.steps[0].auc == 1


def test_sure_probabilities_are_told_right_and_their_losses_stay_finite(tmp_path: Path) -> None:
    """1 against 0, one real picture taken for generated: sp(100) / 2 = 50, as torch.nn.BCELoss has it."""
    line = {"step": 0, "real_probability": [1, 0], "generated_probability": [0.0, 1e-300]}
    log = log_of(tmp_path, json.dumps(line))
    assert (log.steps[0].accuracy, log.steps[0].auc) == (0.75, (2 + 0.5) / 4)
    assert log.discriminator_losses[0] == pytest.approx(50, abs=1e-12)
    assert log.generator_losses[0] == pytest.approx((100 + 300 * math.log(10)) / 2, abs=1e-9)


def test_a_logit_counts_before_a_probability(tmp_path: Path) -> None:
    text = "step,real_probability,real_logit,generated_logit\n1,0.1,3,-1\n2,0.1,,-1\n"
    assert [entry.recall for entry in log_of(tmp_path, text).steps] == [1, 0]


# What is refused


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", "no column step, real_logit, generated_logit"),
        ("step,loss\n1,2\n", "no column real_logit, generated_logit. A training log has step, real_logit or real_prob"),
        ("step,real_logit,generated_logit\n", "no step"),
        ("step,real_logit,generated_logit\n1,good,2\n", "Line 2 of .* has 'good' as real_logit, which is no number"),
        ("step,real_logit,generated_logit\n1.5,1,2\n", "whole number"),
        ("step,real_logit,generated_logit\nnan,1,2\n", "whole number"),
        ("step,real_logit,generated_logit\n,1,2\n", "whole number"),
        (
            "step,real_logit,generated_logit\n1,nan,2\n",
            "Step 1 has a logit that is not a number: the training diverged",
        ),
        ("step,real_logit,generated_logit\n1,1,\n", "Step 1 has 1 real and 0 generated logits; each needs one"),
        ("step,real_logit,generated_logit\n1,1,2\n1,\x00,2\n", "Line 3 of .*no number"),
        ("step,real_probability,generated_logit\n1,1.2,2\n", "real_probability of 1.2.*call it real_logit"),
        ("step,real_probability,generated_logit\n1,-1,2\n", "real_probability of -1"),
        ('step,real_logit,generated_logit\n1,"' + "1" * 200_000 + '",2\n', "is no training log: field larger"),
        ("{}", "has, in line 1, no step, real_logit, generated_logit"),
        ('{"step": 1, "real_logit": 1, "generated_logit": 1}\n[1]', "Line 2 of .* is no JSON object"),
        ('{"step": 1, "real_logit": 1,', "Line 1 of .* is no JSON "),
        ('{"step": 1, "real_logit": "x", "generated_logit": 1}', "has 'x' as real_logit"),
        ('{"step": 1, "real_logit": {"a": 1}, "generated_logit": 1}', "as real_logit, which is no number"),
        ('{"step": 1, "real_logit": [[1], [1, 2]], "generated_logit": 1}', "as real_logit, which is no number"),
        ('{"step": 1, "real_logit": 1' + "0" * 400 + ', "generated_logit": 1}', "as real_logit, which is no number"),
        ('{"step": 1, "real_logit": [null], "generated_logit": 1}', "diverged"),
        ('{"step": [1, 2], "real_logit": 1, "generated_logit": 1}', "whole number"),
        ('{"step": null, "real_logit": 1, "generated_logit": 1}', "whole number"),
        ('{"a":' + "[" * 100_000, "is no JSON"),
    ],
)
def test_a_bad_log_is_refused_with_a_reason(tmp_path: Path, text: str, meaning: str) -> None:
    with pytest.raises(InputError, match=meaning):
        log_of(tmp_path, text)


def test_no_log_at_all(tmp_path: Path) -> None:
    for nowhere in (tmp_path, tmp_path / "log.csv"):
        with pytest.raises(MissingInput):
            read_training_log(nowhere)
    (tmp_path / "log.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableInput, match="UTF-8"):
        read_training_log(tmp_path / "log.csv")
    with pytest.raises(InputError, match="no step"):
        TrainingLog(())
    with pytest.raises(InputError, match="1 steps and 2 losses"):
        TrainingLog((DiscriminatorStatistics(0, 1, 0, 0, 1),), (GanLosses(1, 1),) * 2)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("wb") as file:
        file.truncate(tables.MAX_BYTES + 1)  # sparse: it takes no room
    with pytest.raises(UnreadableInput, match="larger than 200 MB"):
        read_training_log(path)


def test_a_line_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MAX_LINE", 1000)
    line = {"step": 1, "real_logit": [0] * 100, "generated_logit": [1] * 100}
    assert log_of(tmp_path, json.dumps(line)).steps[0].num_pictures == 200
    with pytest.raises(UnreadableInput, match=r"Line 2 of .* is longer than 1,000"):
        log_of(tmp_path, json.dumps(line) + "\n" + json.dumps({**line, "real_logit": [0] * 500}))


# The verdict


def training(accuracies: Sequence[float], *, pictures: int = 1000, held_out: float | None = None) -> TrainingLog:
    steps = []
    for step, accuracy in enumerate(accuracies):
        right = round(accuracy * pictures)
        wrong = pictures - right
        steps.append(DiscriminatorStatistics(step, right, wrong, wrong, right, held_out_recall=held_out))
    return TrainingLog(tuple(steps))


@pytest.mark.parametrize(
    ("log", "key", "words"),
    [
        (training([0.85] * 8), "balanced", ("85 % of the pictures at steps 6 to 7", "80 to 90 %")),
        (training([0.8]), "balanced", ("80 %", "at step 0")),
        (training([0.9] * 28), "balanced", ("90 %",)),
        (training([0.903] * 8), "too_strong", ("90.3 %", "80 to 90 %")),
        (training([0.999] * 8), "too_strong", ("over 99 %",)),
        (training([0.5] * 8), "guessing", ("50 %", "losses", "alone", "mislead", "converged", "quality scores")),
        (training([0.3] * 8), "guessing", ("30 %",)),
        (training([0.52] * 8), "weak", ("52 %", "80 to 90 %")),
        (training([0.797] * 8), "weak", ("79.7 %",)),
        (training([0.6, 0.9] * 12), "oscillating", ("between 60 % and 90 %", "turns 10 times")),
        (training([0.85] * 8, held_out=0.7), "memorising", ("85 %", "70 %")),
        (training([0.85] * 8, held_out=0.72), "balanced", ("85 %",)),
    ],
)
def test_the_verdict(log: TrainingLog, key: str, words: tuple[str, ...]) -> None:
    assert log.verdict.key == key
    assert log.verdicts == (log.verdict,)
    sentence = log.verdict.sentence
    assert sentence[0].isupper() and sentence.endswith(".")
    assert log.verdict.facts.removeprefix("the discriminator ") in sentence
    for word in words:
        assert word in sentence


def test_chance_around_one_half_is_guessing_still() -> None:
    """Two standard errors: of 8 pictures 0.35, of 8,000 0.011."""
    assert training([0.8] * 4, pictures=4).verdict.key == "guessing"
    assert training([0.52] * 4, pictures=4000).verdict.key == "weak"


def test_the_most_serious_comes_first_and_the_rest_is_told_too() -> None:
    """3 of 25 real pictures taken for real, 1,225 generated ones told right: accuracy 98.2 %, recall 12 %."""
    hidden = TrainingLog(tuple(DiscriminatorStatistics(step, 3, 22, 0, 1225) for step in range(8)))
    assert [verdict.key for verdict in hidden.verdicts] == ["low_recall", "too_strong"]
    assert "98 %" in hidden.verdict.sentence and "12 %" in hidden.verdict.sentence
    both = training([0.95] * 8, held_out=0.5)
    assert [verdict.key for verdict in both.verdicts] == ["too_strong", "memorising"]
    assert both.judged("memorising") is both.verdicts[1]
    assert both.judged("balanced") is None


def test_a_healthy_accuracy_does_not_hide_a_low_recall_either() -> None:
    """40 of 100 real and 395 of 400 generated pictures told right: accuracy 87 %."""
    log = TrainingLog(tuple(DiscriminatorStatistics(step, 40, 60, 5, 395) for step in range(4)))
    assert log.last_accuracy == pytest.approx(0.87)
    assert log.verdict.key == "low_recall"


def test_the_shipped_gan_knows_its_pictures_by_heart() -> None:
    verdict = read_training_log(SHIPPED).verdict
    assert verdict.key == "memorising"
    assert all(number in verdict.sentence for number in ("88 %", "44 %", "86 %"))


def test_losses_are_unknown_where_none_are_given() -> None:
    log = training([0.85] * 3)
    assert np.isnan(log.discriminator_losses).all() and log.generator_losses.shape == (3,)


def test_swings_by_hand() -> None:
    """Up by 0.3, down by 0.3, up by 0.3: two turns. A drift and small ripples have none."""
    assert num_swings(np.array([0.5, 0.8, 0.5, 0.8]), 0.2) == 2
    assert num_swings(np.array([0.5, 0.65, 0.8, 0.65, 0.5]), 0.2) == 1
    assert num_swings(np.linspace(0.5, 1, 20), 0.2) == 0
    assert num_swings(np.array([0.7, 0.8] * 10), 0.2) == 0


def test_the_log_of_the_shipped_gan_has_a_name() -> None:
    log = gm.read_training_log("digits-gan-training")
    assert len(log.steps) == 34 and log.step_numbers[-1] == 8000
    assert log.losses_from == "log"


# Columns of other names, other losses, forms


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("iteration,D(x),fake,lossD\n1,0.75,-2,0.5\n2,0.25,3,0.25\n")
    columns = {"step": "iteration", "real_probability": "D(x)", "generated_logit": "fake"}
    log = read_training_log(path, columns=columns)
    assert [entry.accuracy for entry in log.steps] == [1.0, 0.0]
    assert log.losses_from == "logits"
    with pytest.raises(UnreadableInput, match="no column D"):
        read_training_log(path, columns={"step": "iteration", "real_logit": "D", "generated_logit": "fake"})
    with pytest.raises(InputError, match="no column 'real'"):
        read_training_log(path, columns={"real": "D(x)"})


def test_losses_alone_are_read_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,d_loss,g_loss\n1,1.4,0.7\n2,1.38,0.69\n")
    with pytest.raises(UnreadableInput, match="no column real_logit"):
        read_training_log(path)
    log = read_training_log(path, losses_suffice=True)
    assert log.verdict.key == "losses_only" and "1.380" in log.verdict.facts
    assert log.judged("guessing") is None
    path.write_text("step,d_loss\n1,1.4\n")
    with pytest.raises(UnreadableInput, match="no outputs of the discriminator and no losses of both"):
        read_training_log(path, losses_suffice=True)


def test_losses_of_all_families_are_at_hand() -> None:
    log = read_training_log(SHIPPED)
    rows = np.genfromtxt(SHIPPED, delimiter=",", names=True)
    last = rows[rows["step"] == log.steps[-1].step]
    for loss, values in log.families.items():
        assert values[-1] == pytest.approx(gm.gan_losses(last["real_logit"], last["generated_logit"], loss=loss))
    hinge = log.with_losses("hinge")
    assert hinge.losses == log.families["hinge"] and hinge.losses_from == "logits"
    assert log.losses_from == "log" and hinge.verdict == log.verdict
    with pytest.raises(InputError, match="least-squares"):
        log.with_losses("relativistic")


def test_calibration_over_training() -> None:
    log = read_training_log(SHIPPED)
    pooled = log.last_calibration
    assert pooled is not None and pooled.num_pictures == sum(entry.num_pictures for entry in log.last)
    assert pooled.nll == pytest.approx(np.mean(log.nlls[-len(log.last) :]))
    assert pooled.ece < np.mean(log.calibration_errors[-len(log.last) :])  # few pictures a step bias it upwards
    counts = training([0.85] * 3)
    assert counts.last_calibration is None and np.isnan(counts.calibration_errors).all()


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["adversarial", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command(tmp_path: Path) -> None:
    text = run("digits-gan-training")
    assert text.startswith("memorising") and "20 of 34 steps are shown" in text
    assert "705 taken for real, 95 for generated" in text
    record = json.loads(run("digits-gan-training", "--json", "-", "--loss", "hinge"))
    assert record["schema"] == "genmetrics.adversarial/1" and len(record["steps"]) == 34
    assert record["steps"][-1]["d_loss"] == record["steps"][-1]["losses"]["hinge"][0]
    assert record["verdicts"][0]["key"] == "memorising"
    page = tmp_path / "page.html"
    run("digits-gan-training", "--html", str(page))
    html = page.read_text()
    assert "<script" not in html and html.count('<svg class="plot"') == 5 and "Reliability" in html
    log = tmp_path / "<log>.csv"
    log.write_text("i,a,b\n1,1,-1\n")
    columns = ("--column", "step=i", "--column", "real_logit=a", "--column", "generated_logit=b")
    assert "1.000" in run(str(log), *columns, "--html", str(page))
    assert "<log>" not in page.read_text()
    for arguments, meaning in (
        ((str(log), "--column", "a"), "NAME=COLUMN"),
        ((str(log), "--column", "x=a"), "NAME=COLUMN"),
        ((str(log),), "no column step"),
        ((str(log), *columns, "--loss", "other"), "loss is"),
        ((str(log), *columns, "--json", str(log)), "overwrite"),
    ):
        done = CliRunner().invoke(app, ["adversarial", *arguments])
        assert done.exit_code == 2 and meaning in " ".join(done.stderr.split()), done.output


def test_no_line_is_wider_than_asked() -> None:
    log = read_training_log(SHIPPED)
    for width in (40, 77, 130):
        assert all(len(line) <= width for line in log.to_text(width=width).splitlines())
    assert str(log) == log.to_text()
    assert log.to_html(fragment=True).startswith('<div class="genmetrics"')
