"""Real images, real weights: the orders that any sane features must give, and the PRD paper's experiment on CIFAR-10.

The figures in the comments were measured with this file on 2 CPU cores (onnxruntime, x86-64); the margins asserted
leave several standard deviations of another draw of images.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from tests import resnet20

pytestmark = pytest.mark.data

SIDE = 600  # images a side, scattering features
EXPERIMENT = 800  # images a side, ResNet-20 features
COPIES = 38  # surplus exact copies in the folder of Stable Diffusion images

Names = dict[int, list[str]]  # class → entries of an archive, in order
MakeZip = Callable[[str, Iterable[str]], Path]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def features_are_computed_once(clean_environment: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of this module share a cache."""
    monkeypatch.setenv("GENMETRICS_HOME", str(home))


@pytest.fixture(scope="module")
def cifake(data: Path) -> Path:
    return image_file(data, "cifake_test.zip")


@pytest.fixture(scope="module")
def cifar(cifake: Path) -> Names:
    """The CIFAR-10 test images, as JPEG."""
    return names_by_class(cifake, "DATASET/test/REAL/")


@pytest.fixture(scope="module")
def stable_diffusion(cifake: Path) -> Names:
    return names_by_class(cifake, "DATASET/test/FAKE/")


@pytest.fixture(scope="module")
def make_zip(cifake: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeZip:
    """``(name, entries of cifake_test.zip)`` → a zip of these images."""
    folder = tmp_path_factory.mktemp("zips")
    return lambda name, entries: sub_zip(cifake, entries, folder / f"{name}.zip")


@pytest.fixture(scope="module")
def resnet(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the ResNet-20, frozen and verified here."""
    checkpoint = data / "weights" / "resnet20_cifar10.th"
    if not checkpoint.is_file():
        pytest.skip(f"{checkpoint.name} is not in the developers' data folder")
    return resnet20.make_bundle(checkpoint, tmp_path_factory.mktemp("bundles") / "resnet20")


def image_file(data: Path, name: str) -> Path:
    file = data / "images" / name
    if not file.is_file():
        pytest.skip(f"{name} is not in the developers' data folder")
    return file


def names_by_class(archive: Path, folder: str) -> Names:
    """The class is the number in brackets: "0001 (10).jpg" is class 9, "0001.jpg" class 0."""
    names: Names = defaultdict(list)
    with zipfile.ZipFile(archive) as source:
        for name in sorted(source.namelist()):
            if name.startswith(folder) and name.endswith(".jpg"):
                bracket = re.search(r"\((\d+)\)", name)
                names[int(bracket[1]) - 1 if bracket else 0].append(name)
    return dict(names)


def sub_zip(archive: Path, entries: Iterable[str], target: Path) -> Path:
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as chosen:
        for name in entries:
            chosen.writestr(name, source.read(name))
    return target


def flat(names: Names) -> list[str]:
    return [name for number in sorted(names) for name in names[number]]


def read_mnist(file: Path) -> np.ndarray:
    """The idx file: 16 bytes of header, then uint8 (N, 28, 28)."""
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)


# --- Orders -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sides(
    data: Path, cifar: Names, stable_diffusion: Names, make_zip: MakeZip, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path | np.ndarray]:
    """Random images: CIFAR and Fashion-MNIST are sorted by class, MNIST by writers."""
    rng = np.random.default_rng(0)
    real, digits = rng.permutation(flat(cifar)), read_mnist(image_file(data, "t10k-images-idx3-ubyte.gz"))
    order = rng.permutation(len(digits))
    fashion = image_file(data, "fashion_mnist_test.zip")
    with zipfile.ZipFile(fashion) as source:
        clothes = sorted(name for name in source.namelist() if name.endswith(".png"))
    return {
        "cifar": make_zip("cifar", real[:SIDE]),
        "other cifar": make_zip("other-cifar", real[SIDE : 2 * SIDE]),
        "stable diffusion": make_zip("stable-diffusion", rng.choice(flat(stable_diffusion), SIDE, replace=False)),
        "mnist": digits[order[:SIDE]],
        "other mnist": digits[order[SIDE : 2 * SIDE]],
        "fashion": sub_zip(
            fashion, rng.choice(clothes, SIDE, replace=False), tmp_path_factory.mktemp("zips") / "fashion.zip"
        ),
    }


@pytest.fixture
def distances(sides: dict[str, Path | np.ndarray]) -> Callable[[str, str], tuple[float, float]]:
    """Fréchet distance and KID on the built-in features."""

    def measure(generated: str, reference: str) -> tuple[float, float]:
        report = gm.evaluate(sides[generated], sides[reference], extractor="scattering", metrics="fd,kid")
        assert (report.generated.num_images, report.reference.num_images) == (SIDE, SIDE)
        assert not report.generated.skipped and not report.reference.skipped
        return report.scores["fd"].value, report.scores["kid"].value

    return measure


def test_order_of_distances_from_cifar(distances: Callable[[str, str], tuple[float, float]]) -> None:
    fd_same, kid_same = distances("other cifar", "cifar")  # 12.3, -0.0004
    fd_near, kid_near = distances("stable diffusion", "cifar")  # 34.0, 0.26
    fd_far, kid_far = distances("mnist", "cifar")  # 247, 4.28
    # The study of the extractor: the Fréchet distance of CIFAR to itself is about 7,700 / N, KID has no bias.
    assert fd_same == pytest.approx(7700 / SIDE, rel=0.1)
    assert abs(kid_same) < 0.02
    assert 2 * fd_same < fd_near and 4 * fd_near < fd_far
    assert 0.15 < kid_near and 4 * kid_near < kid_far


def test_order_of_distances_from_mnist(distances: Callable[[str, str], tuple[float, float]]) -> None:
    fd_same, kid_same = distances("other mnist", "mnist")  # 4.1, -0.003
    fd_other, kid_other = distances("fashion", "mnist")  # 208, 4.28
    assert 10 * fd_same < fd_other
    assert abs(kid_same) < 0.05 and kid_other > 1


# --- From a checkpoint to a frozen classifier ---------------------------------------------------------------------


def test_frozen_resnet_recognises_the_test_images(resnet: Path, cifar: Names, make_zip: MakeZip) -> None:
    """81.0 %. The checkpoint says 91.8 % of the original pixels, but these are JPEGs of quality 75 with halved colour:
    compressing them once more, on a shifted grid, costs another 4 points.
    """
    labels = {name: label for label, names in cifar.items() for name in names}
    given = sorted(labels)  # the order in which the zip is read
    features = gm.extract_features(make_zip("all-real", given), extractor=resnet)
    assert features.values.shape == (10_000, resnet20.FEATURES)
    truth, found = np.array([labels[name] for name in given]), features.logits.argmax(axis=1)
    assert (found == truth).mean() > 0.80
    for label, title in enumerate(resnet20.CLASSES):  # so the number in brackets is the class, in CIFAR-10's order
        votes = np.bincount(found[truth == label], minlength=len(resnet20.CLASSES))
        assert votes.argmax() == label and votes[label] > 0.65 * votes.sum(), title


# --- Sajjadi et al. 2018, section 4.1, on CIFAR-10 --------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment(resnet: Path, cifar: Names, make_zip: MakeZip) -> dict[int, gm.Report]:
    """Number of classes → report. The reference has five classes, the generated side other images of the first k.

    "Assessing Generative Models via Precision and Recall", section 4.1: below 5 modes are dropped, above 5 invented.
    """
    share = EXPERIMENT // 5
    five = make_zip("five-classes", [name for label in range(5) for name in cifar[label][:share]])
    options = {"extractor": resnet, "cache": False}  # made before the environment of a test is clean
    reference = gm.make_reference(five, **options)
    reports = {}
    for count in (1, 2, 5, 8, 10):
        names = [name for label in range(count) for name in cifar[label][share:][: EXPERIMENT // count]]
        reports[count] = gm.evaluate(make_zip(f"first-{count}-classes", names), reference, **options)
        assert reports[count].generated.num_images == reports[count].reference.num_images == EXPERIMENT
    return reports


def values(reports: dict[int, gm.Report], key: str) -> dict[int, float]:
    return {count: report.scores[key].value for count, report in reports.items()}


@pytest.mark.parametrize(
    ("key", "one", "two"),
    [
        ("recall", 0.3, 0.15),  # 0.44 0.62 | 0.86 | 0.85 0.85 for 1 2 | 5 | 8 10 classes
        ("coverage", 0.4, 0.3),  # 0.39 0.54 | 0.98 | 0.95 0.93
        ("prd_f8", 0.3, 0.25),  # 0.58 0.64 | 0.99 | 0.98 0.98
    ],
)
def test_dropped_classes_cost_recall(experiment: dict[int, gm.Report], key: str, one: float, two: float) -> None:
    found = values(experiment, key)
    assert found[1] < found[5] - one and found[2] < found[5] - two
    assert found[1] < found[2]
    for count in (8, 10):  # foreign classes do not
        assert found[count] == pytest.approx(found[5], abs=0.08)


@pytest.mark.parametrize(
    ("key", "eight", "ten"),
    [
        ("precision", 0.08, 0.12),  # 0.87 0.87 | 0.88 | 0.73 0.70
        ("density", 0.12, 0.2),  # 1.03 1.06 | 1.04 | 0.82 0.72
        ("prd_f1_8", 0.15, 0.15),  # 0.90 0.96 | 0.99 | 0.78 0.76
    ],
)
def test_foreign_classes_cost_precision(experiment: dict[int, gm.Report], key: str, eight: float, ten: float) -> None:
    found = values(experiment, key)
    assert found[8] < found[5] - eight and found[10] < found[5] - ten
    assert found[10] < found[8]
    for count in (1, 2):  # dropped classes do not
        assert found[count] == pytest.approx(found[5], abs=0.12)


def test_prd_curve_ends_where_the_classes_end(experiment: dict[int, gm.Report]) -> None:
    """Ideal features reach recall k/5 at full precision below 5 classes, and precision 5/k at full recall above."""

    def most_recall(count: int, precision: float) -> float:
        curve = experiment[count].curves["prd"]
        return max(x for x, y in zip(curve.x, curve.y, strict=True) if y >= precision)

    def most_precision(count: int, recall: float) -> float:
        curve = experiment[count].curves["prd"]
        return max(y for x, y in zip(curve.x, curve.y, strict=True) if x >= recall)

    assert most_recall(5, 0.8) > 0.95 and most_precision(5, 0.8) > 0.95
    for count in (1, 2):  # recall 0.22 0.43
        assert most_recall(count, 0.8) == pytest.approx(count / 5, abs=0.15)
        assert most_precision(count, 0.15) > 0.9
    for count in (8, 10):  # precision 0.71 0.61
        assert most_precision(count, 0.8) == pytest.approx(5 / count, abs=0.17)
        assert most_recall(count, 0.4) > 0.95


def test_frechet_and_kernel_distance_see_both_and_tell_neither(experiment: dict[int, gm.Report]) -> None:
    """The reason for the paper: fewer and more classes both raise them."""
    for key in ("fd", "kid"):
        found = values(experiment, key)
        assert found[5] == min(found.values()), key
        assert min(found[1], found[2]) > 3 * max(found[8], found[10]), key
        assert min(found[8], found[10]) > 5 * found[5], key


def test_class_score_counts_classes_whatever_the_reference(experiment: dict[int, gm.Report]) -> None:
    """Foreign classes raise it, too: at most the number of classes, 1 for one class that is recognised always."""
    found = values(experiment, "class_score")
    assert list(found.values()) == sorted(found.values())  # 2.2, 3.3, 5.8, 7.0, 8.0
    assert found[1] < 3 and found[10] > 7
    details = experiment[1].scores["class_score"].details
    assert details["num_classes"] == len(resnet20.CLASSES)
    assert details["reference_scores"] == pytest.approx(found[5], abs=0.6)  # other images of the same five classes


# --- Exact copies -------------------------------------------------------------------------------------------------


def test_exact_copies_are_counted_and_harmless(
    resnet: Path, cifake: Path, cifar: Names, stable_diffusion: Names, make_zip: MakeZip
) -> None:
    entries = flat(stable_diffusion)
    with zipfile.ZipFile(cifake) as source:
        digests = {name: hashlib.sha256(source.read(name)).hexdigest() for name in entries}
    times = Counter(digests.values())
    assert len(entries) - len(times) == COPIES
    everything = make_zip("all-fake", entries)
    reference = make_zip("hundred-a-class", [name for label in cifar for name in cifar[label][:100]])

    # The whole folder: a copy is an image like any other, with the very features of its original.
    report = gm.evaluate(everything, reference, extractor=resnet, metrics="fd")
    assert (report.generated.num_images, report.reference.num_images) == (10_000, 1000)
    assert not report.generated.skipped
    features = gm.extract_features(everything, extractor=resnet)
    assert features.num_images == len(features.values) == 10_000
    assert len(np.unique(features.values, axis=0)) == 10_000 - COPIES

    # Nothing but pairs against one of each: counts over generated images stay, only their own neighbourhoods shrink.
    pairs = [name for name in entries if times[digests[name]] > 1]
    originals = {digests[name]: name for name in pairs}.values()
    twice = gm.evaluate(make_zip("pairs", pairs), reference, extractor=resnet)
    once = gm.evaluate(make_zip("originals", originals), reference, extractor=resnet)
    assert (twice.generated.num_images, once.generated.num_images) == (2 * COPIES, COPIES)
    assert all(np.isfinite(score.value) for score in twice.scores.values())
    for key in ("precision", "density", "coverage"):
        assert twice.scores[key].value == once.scores[key].value, key
    assert twice.scores["recall"].value < once.scores["recall"].value
