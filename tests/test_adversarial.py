"""The discriminator's statistics and the losses of a GAN, against closed forms and published vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.errors import InputError
from genmetrics_rt.metrics.adversarial import LOSSES
from tests import golden

# The vector of the unit tests of TF-GAN (tensorflow_gan, losses_impl_test.py). Its values there have 4 to 6 digits;
# these come from a float64 computation with the standard library (math.log1p), independent of this package.
REAL, GENERATED = (-5.0, 1.4, 12.5, 2.7), (10.0, 4.4, -5.5, 3.6)
LN2 = math.log(2)


@pytest.mark.parametrize(
    ("loss", "target", "discriminator", "generator"),
    [
        ("minimax", 1.0, 5.83386589165402, -4.510820879946423),
        ("non-saturating", 1.0, 5.83386589165402, 1.3858208799464231),
        ("non-saturating", 0.875, 6.19636589165402, 1.3858208799464231),  # TF-GAN's label_smoothing=0.25
        ("non-saturating", 0.9, 6.12386589165402, 1.3858208799464231),
        ("least-squares", 1.0, 41.73375, 17.69625),
        ("hinge", 1.0, 6.75, -3.125),
        ("wasserstein", 1.0, 0.225, -3.125),
    ],
)
def test_losses_of_the_canonical_vector(loss: str, target: float, discriminator: float, generator: float) -> None:
    found = gm.gan_losses(REAL, GENERATED, loss=loss, real_target=target)
    assert found.discriminator == pytest.approx(discriminator, abs=1e-12)
    assert found.generator == pytest.approx(generator, abs=1e-12)


def test_the_minimax_loss_of_tf_gan_is_a_constant_below() -> None:
    """Its value on the same vector is −4.824082567464646: real logits of 1 add −ln(1 + 1/e)."""
    found = gm.gan_losses(REAL, GENERATED, loss="minimax")
    assert found.generator - math.log1p(math.exp(-1)) == pytest.approx(-4.824082567464646, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("minimax", (2 * LN2, -LN2)),
        ("non-saturating", (2 * LN2, LN2)),
        ("least-squares", (0.5, 0.5)),
        ("hinge", (2.0, 0.0)),
        ("wasserstein", (0.0, 0.0)),
    ],
)
def test_losses_of_logits_of_zero(loss: str, expected: tuple[float, float]) -> None:
    assert gm.gan_losses(np.zeros(3), np.zeros(5), loss=loss) == pytest.approx(expected, abs=1e-15)


def test_smoothing_of_least_squares_moves_the_label_of_real_pictures() -> None:
    """½ (2 − 0.9)² + ½ 3², and ½ (3 − 1)² whatever the smoothing."""
    found = gm.gan_losses([2.0], [3.0], loss="least-squares", real_target=0.9)
    assert found == pytest.approx((0.605 + 4.5, 2.0), abs=1e-12)


def test_an_optimal_discriminator_measures_the_jensen_shannon_divergence() -> None:
    """On {0, 1} with p = (¾, ¼) and q = (¼, ¾), D = ln(p/q): JS = ln 2 − ½ loss = ln 2 − H(¼)."""
    logit = math.log(3)
    loss = gm.gan_losses([logit] * 3 + [-logit], [logit] + [-logit] * 3).discriminator
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert LN2 - loss / 2 == pytest.approx(LN2 - entropy, abs=1e-12)


def test_large_logits_neither_overflow_nor_vanish() -> None:
    found = gm.gan_losses([-1000.0], [-1000.0])
    assert found == (1000.0, 1000.0)
    tiny = gm.gan_losses([50.0], [-50.0]).discriminator
    assert tiny == pytest.approx(2 * math.exp(-50), rel=1e-12)
    assert gm.gan_losses([1e308] * 2, [-1e308] * 2, loss="least-squares").discriminator == math.inf


def test_sure_probabilities_have_infinite_logits() -> None:
    assert gm.gan_losses([math.inf], [-math.inf]) == (0.0, math.inf)
    assert gm.gan_losses([-math.inf], [0.0]).discriminator == math.inf
    assert gm.gan_losses([math.inf], [0.0], real_target=0.9).discriminator == math.inf
    for loss in ("least-squares", "hinge", "wasserstein"):
        with pytest.raises(InputError, match="infinite"):
            gm.gan_losses([math.inf], [0.0], loss=loss)


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        ({"loss": "relativistic"}, "least-squares"),
        ({"real_target": 0.0}, "above 0"),
        ({"real_target": 1.1}, "at most 1"),
        ({"real_target": math.nan}, "above 0"),
        ({"real_target": 0.9, "loss": "hinge"}, "only minimax"),
        ({"real_target": 0.9, "loss": "wasserstein"}, "only minimax"),
    ],
)
def test_what_is_no_loss(options: dict[str, Any], meaning: str) -> None:
    with pytest.raises(InputError, match=meaning):
        gm.gan_losses(REAL, GENERATED, **options)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_better_discriminator_has_a_lower_loss_and_a_better_generator_too(loss: str) -> None:
    """To first order around 0: each loss falls when its owner has its way."""
    at_zero = gm.gan_losses([0.0], [0.0], loss=loss)
    assert gm.gan_losses([0.1], [-0.1], loss=loss).discriminator < at_zero.discriminator
    assert gm.gan_losses([0.0], [0.1], loss=loss).generator < at_zero.generator


# Statistics


def test_statistics_of_the_golden_arrays() -> None:
    """Independent float64 values; accuracy and the shares are exact counts."""
    real, generated = golden.X[:, 0] + 0.5, golden.Y[:, 0] - 0.5
    found = gm.discriminator_statistics(real, generated, step=7)
    assert found.step == 7 and found.num_pictures == 1000
    assert (found.accuracy, found.recall) == (0.628, 0.696)
    assert found.precision == pytest.approx(0.612676, abs=5e-7)
    assert found.auc == pytest.approx(0.656352, abs=1e-12)
    losses = gm.gan_losses(real, generated)
    assert losses.discriminator == pytest.approx(1.368459428, abs=5e-10)
    assert losses.generator == pytest.approx(0.926614001, abs=5e-10)


def test_confusion_by_hand() -> None:
    """Probabilities .9 .8 .4 against .7 .4 .1, less 1/2: TP 2, FN 1, FP 1, TN 2, all shares 2/3, and AUC 7.5/9."""
    found = gm.discriminator_statistics(np.array([0.9, 0.8, 0.4]) - 0.5, np.array([0.7, 0.4, 0.1]) - 0.5)
    counts = (found.real_as_real, found.real_as_generated, found.generated_as_real, found.generated_as_generated)
    assert counts == (2, 1, 1, 2)
    for value in (found.accuracy, found.precision, found.recall, found.f1, found.specificity, found.balanced_accuracy):
        assert value == pytest.approx(2 / 3)
    assert found.auc == pytest.approx(7.5 / 9, abs=1e-15)
    assert found.held_out_recall is None


def test_equal_logits_have_an_auc_of_one_half_and_zero_counts_as_generated() -> None:
    found = gm.discriminator_statistics([0.0, 0.0], [0.0], held_out_logits=[0.0, 1e-300])
    assert found.auc == 0.5
    assert (found.recall, found.specificity, found.precision, found.f1) == (0, 1, 0, 0)
    assert found.held_out_recall == 0.5
    assert gm.discriminator_statistics([3.0], [3.0] * 4).auc == 0.5


def test_auc_is_the_share_of_ordered_pairs() -> None:
    """All pairs one by one, with many ties and with infinite logits."""
    rng = np.random.default_rng(0)
    real, generated = rng.integers(-3, 4, 40).astype(float), rng.integers(-4, 3, 70).astype(float)
    real[0], generated[0] = math.inf, -math.inf
    pairs = [(r > g) + (r == g) / 2 for r in real for g in generated]
    assert gm.discriminator_statistics(real, generated).auc == pytest.approx(float(np.mean(pairs)), abs=1e-15)
    assert gm.discriminator_statistics([1.0, math.inf], [0.0, -math.inf]).auc == 1
    assert gm.discriminator_statistics([0.0], [1.0, 2.0]).auc == 0


def test_one_logit_is_enough_and_any_shape_will_do() -> None:
    assert gm.discriminator_statistics(np.float32(2.0), -1).accuracy == 1
    column = np.array([[2.0], [-1.0]], np.float16)
    assert gm.discriminator_statistics(column, column).accuracy == 0.5


def test_tensors_with_gradients_are_taken() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[1.0], [-2.0]], requires_grad=True)
    assert gm.discriminator_statistics(logits, logits.detach()).auc == 0.5
    assert gm.gan_losses(logits, logits, loss="wasserstein") == (0.0, 0.5)


@pytest.mark.parametrize(
    ("real", "generated", "meaning"),
    [
        ([], [1.0], "0 real and 1 generated"),
        ([1.0], np.zeros(0), "1 real and 0 generated"),
        ([1.0, math.nan], [1.0], "diverged"),
        ([1.0], [math.nan], "diverged"),
        (["high"], [1.0], "no array of numbers"),
        (None, [1.0], "no array of numbers"),
        ([[1.0], [1.0, 2.0]], [1.0], "no array of numbers"),
        ([10**400], [1.0], "no array of numbers"),
    ],
)
def test_logits_that_say_nothing(real: Any, generated: Any, meaning: str) -> None:
    with pytest.raises(InputError, match=meaning):
        gm.discriminator_statistics(real, generated)
    with pytest.raises(InputError, match=meaning):
        gm.gan_losses(real, generated)


def test_held_out_logits_are_checked_too() -> None:
    with pytest.raises(InputError, match="Step 3 has a logit that is not a number"):
        gm.discriminator_statistics([1.0], [0.0], held_out_logits=[math.nan], step=3)


# Variants, penalties, calibration


def test_the_losses_of_tf_gan_as_they_come() -> None:
    """Its own unit tests on the canonical vector: smoothed cross-entropy, and minimax with the added constant."""
    found = gm.gan_losses(REAL, GENERATED, loss="minimax", variant="tf-gan")
    assert found.discriminator == pytest.approx(6.19636589165402, abs=1e-12)
    assert found.generator == pytest.approx(-4.824082567464646, abs=1e-12)
    modified = gm.gan_losses(REAL, GENERATED, variant="tf-gan")
    assert modified == pytest.approx((6.19636589165402, 1.3858208799464231), abs=1e-12)
    assert gm.gan_losses(REAL, GENERATED, variant="tf-gan", real_target=1.0).discriminator == pytest.approx(
        5.83386589165402, abs=1e-12
    )
    for loss in ("least-squares", "hinge", "wasserstein"):
        assert gm.gan_losses(REAL, GENERATED, loss=loss, variant="tf-gan") == gm.gan_losses(REAL, GENERATED, loss=loss)


def test_least_squares_without_the_half() -> None:
    found = gm.gan_losses(REAL, GENERATED, loss="least-squares", variant="unhalved")
    assert found == pytest.approx((83.4675, 35.3925), abs=1e-12)
    with pytest.raises(InputError, match="Only least-squares"):
        gm.gan_losses(REAL, GENERATED, variant="unhalved")
    with pytest.raises(InputError, match="variant is"):
        gm.gan_losses(REAL, GENERATED, variant="other")


def test_the_gradient_penalty_by_hand() -> None:
    """Norms 5, 1 and 0: 10 (16 + 0 + 1) / 3. One-sided only the first costs."""
    gradients = np.array([[[3.0, 4.0]], [[1.0, 0.0]], [[0.0, 0.0]]])
    assert gm.gradient_penalty(gradients) == pytest.approx(10 * 17 / 3)
    assert gm.gradient_penalty(np.array([5.0, 1.0, 0.0])) == pytest.approx(10 * 17 / 3)
    assert gm.gradient_penalty(gradients, one_sided=True, weight=1.0) == pytest.approx(16 / 3)
    assert gm.gradient_penalty([[0.0]], epsilon=1e-10, weight=1.0) == pytest.approx((1e-5 - 1) ** 2, abs=1e-15)
    for bad in ([], [math.nan], 3.0):
        with pytest.raises(InputError, match="finite gradients"):
            gm.gradient_penalty(np.array(bad))


def test_calibration_by_hand() -> None:
    """p = 0.9 of three real and one generated, 0.1 of one real and three generated: both bins are off by 0.15."""
    logit = math.log(9)
    found = gm.discriminator_calibration([logit] * 3 + [-logit], [logit] + [-logit] * 3)
    assert found.ece == pytest.approx(0.15, abs=1e-12)
    assert found.nll == pytest.approx(-(6 * math.log(0.9) + 2 * math.log(0.1)) / 8, abs=1e-12)
    filled = [(entry.num_pictures, entry.probability, entry.real) for entry in found.bins if entry.num_pictures]
    assert filled == [(4, pytest.approx(0.1), 0.25), (4, pytest.approx(0.9), 0.75)]
    assert math.isnan(found.bins[5].probability) and math.isnan(found.bins[5].real)


def test_guessing_and_optimal_discriminators_are_calibrated() -> None:
    assert gm.discriminator_calibration(np.zeros(7), np.zeros(7)).ece == 0
    assert gm.discriminator_calibration(np.zeros(7), np.zeros(3)).nll == pytest.approx(LN2, abs=1e-15)
    # Of two Gaussians at ±1 the optimal logit is 2x. Binned, 20,000 pictures scatter by about 0.5/√2,000 a bin.
    rng = np.random.default_rng(0)
    real, generated = rng.normal(1, 1, 10_000), rng.normal(-1, 1, 10_000)
    assert gm.discriminator_calibration(2 * real, 2 * generated).ece < 0.01
    assert gm.discriminator_calibration(6 * real, 6 * generated).ece > 0.04  # too sure
    sure = gm.discriminator_calibration([math.inf], [-math.inf])
    assert (sure.nll, sure.ece) == (0.0, 0.0)
    assert gm.discriminator_calibration([-math.inf], [0.0]).nll == math.inf
    with pytest.raises(InputError, match="bins"):
        gm.discriminator_calibration([0.0], [0.0], bins=0)


def test_calibrations_of_steps_are_pooled() -> None:
    rng = np.random.default_rng(0)
    real, generated = rng.normal(1, 2, 50), rng.normal(-1, 2, 70)
    parts = [
        gm.discriminator_calibration(real[:20], generated[:10]),
        gm.discriminator_calibration(real[20:], generated[10:]),
    ]
    pooled, whole = gm.Calibration.pooled(parts), gm.discriminator_calibration(real, generated)
    assert (pooled.nll, pooled.ece) == pytest.approx((whole.nll, whole.ece), abs=1e-12)
    assert [entry.num_pictures for entry in pooled.bins] == [entry.num_pictures for entry in whole.bins]
    with pytest.raises(InputError, match="no calibration"):
        gm.Calibration.pooled([])
