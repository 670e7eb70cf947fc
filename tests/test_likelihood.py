"""Log-likelihoods against closed forms: bits/dim, gap, importance-weighted bounds, Parzen window."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.errors import InputError
from genmetrics_rt.metrics.importance import default_sizes, log_mean_exp
from genmetrics_rt.metrics.likelihood import implausible_bits
from genmetrics_rt.metrics.parzen import SIGMAS
from tests import golden

LN2 = math.log(2)
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


# Bits per dimension


@pytest.mark.parametrize(
    ("scale", "levels", "bits"),
    [
        ("discrete", 256, 0.0),
        ("[0,1]", 256, 8.0),
        ("[0, 1]", 32, 5.0),
        ("[-.5,.5]", 32, 5.0),  # Glow on 5 bits
        ("[-0.5,0.5]", 256, 8.0),
        ("[-1,1]", 256, 7.0),
        ("(x+u)/256", 256, 8.0),
        ("(x + u)/128 - 1", 256, 7.0),
        ("x/127.5-1", 256, 6.994353436858858),
        ("(x+u)/127.5−1", 256, 6.994353436858858),
        ("x/255", 256, 7.994353436858858),
        (255, 256, 7.994353436858858),
        ("127.5", 256, 6.994353436858858),
        ("60.5", 256, 5.918863237274595),
        ("(x+u)/130.5-0.5", 256, 7.027905996569885),
        ([256, 128, 64], 256, 7.0),  # one for each channel: the mean
    ],
)
def test_the_bits_of_a_scale(scale: Any, levels: int, bits: float) -> None:
    """log2 of what x was divided by."""
    assert gm.offset_bits(scale, levels=levels) == pytest.approx(bits, abs=1e-12)


@pytest.mark.parametrize("scale", ["[0,2]", "x*255", "x/0", "", "x/255-", "nan", 0, -1, [1, 0], [], math.inf])
def test_what_is_no_scale(scale: Any) -> None:
    with pytest.raises(InputError, match="scale"):
        gm.offset_bits(scale)


def test_bits_of_known_densities() -> None:
    """Closed forms, by hand."""
    assert gm.bits_per_dim(-3072 * math.log(256), 3072) == pytest.approx(8.0, abs=1e-12)  # uniform over 256 levels
    # N(0, 1) under itself: ½ ln 2πe = 1.4189385332 nats.
    entropy = HALF_LOG_TAU + 0.5
    assert entropy == pytest.approx(1.4189385332, abs=1e-10)
    assert gm.bits_per_dim(-entropy, 1) == pytest.approx(2.0470955851, abs=1e-9)
    assert gm.bits_per_dim(-entropy, 1, scale="[0,1]") == pytest.approx(10.0470955851, abs=1e-9)
    assert gm.bits_per_dim(-80.0, 784) == pytest.approx(0.1472137797, abs=1e-9)
    assert gm.bits_per_dim(-3.0 * 3072 * LN2, 3072) == pytest.approx(3.0, abs=1e-12)
    assert 3.0 * 3072 * LN2 == pytest.approx(6388.0444, abs=1e-4)
    # σ = ¼ at its mean, modelled on [0, 1]: ln σ√2π = −0.4673558 nats.
    nll = math.log(0.25) + HALF_LOG_TAU
    assert nll == pytest.approx(-0.4673558279, abs=1e-9)
    assert gm.bits_per_dim(-nll, 1, scale="[0,1]") == pytest.approx(7.3257480648, abs=1e-9)


def test_a_density_of_noisy_levels_bounds_their_probability() -> None:
    """A density that is flat on each cell has the very probability; another one is below it (Theis et al. 2016)."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(8))
    x = rng.choice(8, 4000, p=p)
    exact = gm.estimate_likelihood(np.log(p[x]), dims=1)
    noisy = (x + rng.random(len(x))) / 8
    flat = gm.estimate_likelihood(np.log(8 * p[np.floor(8 * noisy).astype(int)]), dims=1, offset=3.0)
    assert flat.bits_per_dim == pytest.approx(exact.bits_per_dim, abs=1e-12)
    mean, sigma = noisy.mean(), noisy.std()
    gaussian = -0.5 * ((noisy - mean) / sigma) ** 2 - math.log(sigma) - HALF_LOG_TAU
    above = gm.estimate_likelihood(gaussian, dims=1, offset=gm.offset_bits("[0,1]", levels=8)).bits_per_dim
    assert above is not None and exact.bits_per_dim is not None and above > exact.bits_per_dim


def test_the_estimate_is_a_mean_with_its_standard_error() -> None:
    found = gm.estimate_likelihood([-1.0, -2.0, -6.0], dims=2, offset=1.0)
    assert (found.num_images, found.nll) == (3, 3.0)
    assert found.standard_error == pytest.approx(math.sqrt(7 / 3))
    assert found.bits_per_dim == pytest.approx(3 / (2 * LN2) + 1)
    assert found.perplexity == pytest.approx(2 ** (3 / (2 * LN2) + 1))
    assert found.bits_interval == pytest.approx(
        tuple(3 / (2 * LN2) + 1 + sign * 1.959964 * math.sqrt(7 / 3) / (2 * LN2) for sign in (-1, 1))
    )
    plain = gm.estimate_likelihood(-4.0)
    assert plain.nll == 4 and math.isnan(plain.standard_error) and plain.bits_per_dim is None
    impossible = gm.estimate_likelihood([-1.0, -math.inf], dims=3)
    assert impossible.num_impossible == 1 and impossible.bits_per_dim == math.inf


@pytest.mark.parametrize(
    ("values", "meaning"),
    [([], "no log-likelihood"), ([1.0, math.nan], "image 1"), ([math.inf], "infinite"), (np.zeros((3, 2)), "shape")],
)
def test_what_is_no_likelihood(values: Any, meaning: str) -> None:
    with pytest.raises(InputError, match=meaning):
        gm.estimate_likelihood(values)
    with pytest.raises(InputError, match="dimensions"):
        gm.bits_per_dim(-1.0, 0)


def test_the_classic_errors_are_named() -> None:
    """3 bits/dim of [0, 1]: −5 without its 8, 11 with them twice."""
    forgotten = implausible_bits(-5.0, offset=0.0)
    assert forgotten is not None and "below 0" in forgotten and "3 on [0,1]" in forgotten
    twice = implausible_bits(11.0, offset=8.0)
    assert twice is not None and "added twice" in twice and "it would be 3" in twice
    inside = implausible_bits(11.0, offset=0.0)
    assert inside is not None and "one less would be 3" in inside
    assert implausible_bits(40.0, offset=8.0, levels=256) is not None
    for fine in (0.0, 3.0, 8.0):
        assert implausible_bits(fine, offset=8.0) is None
    assert implausible_bits(5.0, offset=0.0, levels=17) is not None  # log2(17) is 4.09


# Discrete and squeezed values


def test_a_discretised_logistic_is_a_distribution() -> None:
    """Sums to 1 for narrow and wide, inside and outside; against the difference of sigmoids where that is exact."""
    x = np.arange(256)
    for mean, scale in ((100.0, 3.0), (0.0, 20.0), (300.0, 0.3), (-50.0, 5.0), (127.3, 1e-3)):
        assert np.exp(gm.discretised_logistic(x, mean, scale)).sum() == pytest.approx(1.0, abs=1e-12)

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    assert gm.discretised_logistic(7, 5.0, 2.0) == pytest.approx(math.log(sigmoid(1.25) - sigmoid(0.75)), abs=1e-13)
    assert gm.discretised_logistic(0, 5.0, 2.0) == pytest.approx(math.log(sigmoid(-2.25)), abs=1e-13)
    assert gm.discretised_logistic(255, 250.0, 2.0) == pytest.approx(math.log(1 - sigmoid(2.25)), abs=1e-13)
    # Far out a difference of sigmoids is 0; the tail is exponential: e^(−(x − ½ − μ)/s) (1 − e^(−1/s)).
    assert gm.discretised_logistic(200, 0.0, 1.0) == pytest.approx(-199.5 + math.log1p(-math.exp(-1)), abs=1e-12)
    for bad in ((1.5, 0.0, 1.0), (256, 0.0, 1.0), (1, 0.0, 0.0)):
        with pytest.raises(InputError):
            gm.discretised_logistic(*bad)


def test_the_jacobian_of_the_logit_keeps_probabilities() -> None:
    """∫ p(y(x)) |dy/dx| dx = 1 for the logistic density of y on the squeezed interval; and by difference quotient."""
    x = (np.arange(200_000) + 0.5) / 200_000
    low, high = 0.05, 0.95
    squeezed = low + (high - low) * x
    density = squeezed * (1 - squeezed)  # of the logistic distribution at y = logit(squeezed)
    jacobian = gm.logit_log_jacobian(x[:, None], low=low, high=high)
    assert np.mean(density * np.exp(jacobian)) == pytest.approx(high - low, abs=1e-9)

    def logit(value: float) -> float:
        return math.log(value / (1 - value))

    step = 1e-5
    slope = (logit(low + 0.9 * (0.3 + step)) - logit(low + 0.9 * (0.3 - step))) / (2 * step)
    assert gm.logit_log_jacobian([[0.3, 0.3]])[0] == pytest.approx(2 * math.log(slope), abs=1e-8)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        gm.logit_log_jacobian([[2.0]])


# Gap


def test_the_gap_is_welch() -> None:
    """Against scipy.stats.ttest_ind (equal_var=False), which is an implementation of its own."""
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(1)
    train, test = rng.normal(1.0, 2.0, 80), rng.normal(0.0, 5.0, 50)
    found, peer = gm.likelihood_gap(train, test), ttest_ind(train, test, equal_var=False)
    interval = peer.confidence_interval(0.95)
    assert found.gap == pytest.approx(train.mean() - test.mean())
    assert found.p_value == pytest.approx(peer.pvalue, rel=1e-9)
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_the_verdict_on_overfitting() -> None:
    rng = np.random.default_rng(0)
    same, other = rng.normal(0, 1, (2, 500))
    assert gm.likelihood_gap(same, other).verdict == "none"
    assert gm.likelihood_gap(same + 1, other).verdict == "overfits"
    assert gm.likelihood_gap(same - 1, other).verdict == "reversed"
    assert gm.likelihood_gap([1.0, 1.0], [0.0, 0.0]).verdict == "overfits"
    assert gm.likelihood_gap([1.0, 1.0], [1.0, 1.0]).p_value == 1
    with pytest.raises(InputError, match="two finite"):
        gm.likelihood_gap([1.0], [0.0, 1.0])


def test_the_interval_of_the_gap_holds_the_truth() -> None:
    """95 % of 400 pairs of one distribution, unequal sizes and spreads: 3 binomial deviations are 0.033."""
    rng = np.random.default_rng(0)
    held = [
        low < 0 < high
        for low, high in (
            gm.likelihood_gap(rng.normal(0, 3, 15), rng.normal(0, 1, 40)).interval for _ in range(400)
        )
    ]  # fmt: skip
    assert np.mean(held) == pytest.approx(0.95, abs=0.033)


# Importance-weighted bounds


def test_bounds_by_hand() -> None:
    """ln w = (0, ln 3): the ELBO is ½ ln 3, the bound of both ln 2. Equal weights: both are that weight."""
    found = gm.importance_bounds([[0.0, math.log(3)]])
    assert found.sizes == (1, 2)
    assert found.values == pytest.approx((0.5493061443, 0.6931471806), abs=1e-10)
    assert found.effective_size == pytest.approx(16 / 10)
    assert found.last_rise == pytest.approx(LN2 - 0.5 * math.log(3))
    equal = gm.importance_bounds(np.full((3, 4), -7.0))
    assert equal.values == pytest.approx((-7.0,) * 3, abs=1e-12)
    assert equal.standard_errors == pytest.approx((0.0,) * 3, abs=1e-12)
    assert equal.effective_size == pytest.approx(4)


def test_bounds_of_the_toy_model() -> None:
    """p(z) = N(0, 1), p(x | z) = N(z, 1), q the prior, x = 0: L_1 and ln p in closed form, L_2 by quadrature."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 500))
    found = gm.importance_bounds(-0.5 * z**2 - HALF_LOG_TAU, sizes=[1, 2, 10, 500])
    assert found.is_rising
    exact = (-1.4189385332, -1.3173038882)
    for value, error, expected in zip(found.values, found.standard_errors, exact, strict=False):
        assert value == pytest.approx(expected, abs=4 * error)
    assert found.standard_errors[0] < 1e-3
    # The bias of the bound at k is −Var(w) / (2 k E[w]²); here Var(w)/E[w]² = 2/√3 − 1.
    log_p = -0.5 * math.log(2 * math.pi * 2)
    assert log_p == pytest.approx(-1.2655121235, abs=1e-10)
    assert found.values[-1] == pytest.approx(log_p - (2 / math.sqrt(3) - 1) / 1000, abs=4 * found.standard_errors[-1])
    # The exact posterior N(x/2, 1/2): every weight is p(x), so every bound is exact.
    posterior = z[:50] * math.sqrt(0.5)
    weights = (-0.5 * posterior**2 - HALF_LOG_TAU) * 2 - (-0.5 * z[:50] ** 2 - HALF_LOG_TAU - 0.5 * math.log(0.5))
    assert gm.importance_bounds(weights).values == pytest.approx((log_p,) * 6, abs=1e-12)


@pytest.mark.parametrize("most", [1, 2, 7, 12, 64, 97, 1000, 5000])
def test_default_sizes_divide_one_another_so_bounds_always_rise(most: int) -> None:
    sizes = default_sizes(most)
    assert sizes[0] == 1 and sizes[-1] == most and len(sizes) <= 9
    assert all(later % earlier == 0 for earlier, later in itertools.pairwise(sizes))
    rng = np.random.default_rng(most)
    assert gm.importance_bounds(rng.standard_cauchy((3, most))).is_rising


def test_published_sizes() -> None:
    assert default_sizes(5000) == (1, 5, 10, 50, 100, 500, 1000, 5000)
    assert default_sizes(64) == (1, 2, 4, 8, 16, 32, 64)


def test_weights_of_any_size_do_not_overflow() -> None:
    found = gm.importance_bounds([[-1e5, -1e5 + LN2], [1e4, -np.inf]])
    assert found.values[-1] == pytest.approx(((-1e5 + math.log(1.5)) + (1e4 - LN2)) / 2)
    assert found.values[0] == -math.inf
    assert log_mean_exp(np.array([-np.inf, -np.inf])) == -np.inf
    for bad, meaning in (([1.0, 2.0], "shape"), ([[math.nan]], "NaN"), (np.empty((0, 3)), "shape")):
        with pytest.raises(InputError, match=meaning):
            gm.importance_bounds(bad)
    with pytest.raises(InputError, match="between 1 and 2"):
        gm.importance_bounds([[0.0, 1.0]], sizes=[3])


# Parzen window


def test_windows_by_hand() -> None:
    """One point at 0; two at ±1; two in the plane; 784 dimensions at the centre of a narrow window."""
    assert gm.parzen_window([[0.0]], [[0.0]], sigma=1.0).mean == pytest.approx(-0.9189385332, abs=1e-9)
    assert gm.parzen_window([[-1.0], [1.0]], [[0.0]], sigma=1.0).mean == pytest.approx(-1.4189385332, abs=1e-9)
    plane = gm.parzen_window([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]], sigma=1.0)
    assert plane.mean == pytest.approx(-2.5310205203, abs=1e-9)
    middle = np.zeros((1, 784))
    assert gm.parzen_window(middle, middle, sigma=0.2).mean == pytest.approx(541.3515133, abs=1e-6)


def test_the_golden_window() -> None:
    """tests/golden.py; numpy float64, independent of this package."""
    found = gm.parzen_window(golden.Y, golden.X, sigma=0.5)
    assert found.mean == pytest.approx(-13.023718817, abs=5e-10)
    assert found.standard_error == pytest.approx(0.107608451, abs=5e-10)


def test_the_width_is_the_likeliest_of_the_grid() -> None:
    assert SIGMAS == pytest.approx(
        [0.1, 0.12915497, 0.16681005, 0.21544347, 0.27825594, 0.35938137, 0.46415888, 0.59948425, 0.77426368, 1.0]
    )
    found = gm.parzen_window(golden.Y, golden.X[:200], validation=golden.X[200:])
    tried = {sigma: gm.parzen_window(golden.Y, golden.X[200:], sigma=sigma).mean for sigma in SIGMAS}
    assert found.sigma == max(tried, key=lambda sigma: tried[sigma])
    assert dict(found.validation) == pytest.approx(tried)
    assert found.mean == gm.parzen_window(golden.Y, golden.X[:200], sigma=found.sigma).mean
    assert found.at_edge == (found.sigma in (0.1, 1.0))
    with pytest.raises(InputError, match="width"):
        gm.parzen_window(golden.Y, golden.X)
    with pytest.raises(InputError, match="dimensions"):
        gm.parzen_window(golden.Y[:, :3], golden.X, sigma=1.0)
    with pytest.raises(InputError, match="above 0"):
        gm.parzen_window(golden.Y, golden.X, sigma=0.0)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import genmetrics_rt.metrics.parzen as module

    whole = gm.parzen_window(golden.Y, golden.X, sigma=0.7).log_likelihoods
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert gm.parzen_window(golden.Y, golden.X, sigma=0.7).log_likelihoods == pytest.approx(whole, abs=1e-10)
