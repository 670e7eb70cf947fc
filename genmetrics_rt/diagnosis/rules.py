"""The table of rules: key, severity, condition, and the words. To add one, write its condition and an entry here."""

from __future__ import annotations

from collections.abc import Sequence

from genmetrics_rt.diagnosis import conditions as when
from genmetrics_rt.diagnosis import file_conditions as files
from genmetrics_rt.diagnosis import training_conditions as training
from genmetrics_rt.diagnosis.evidence import Evidence, Picture
from genmetrics_rt.diagnosis.rule import Rule
from genmetrics_rt.diagnosis.text_rules import TEXT_RULES
from genmetrics_rt.galleries import shown
from genmetrics_rt.report import Finding, Thumbnail

_ORDER = ("problem", "warning", "info")
_PICTURES = 6  # of one finding


RULES: tuple[Rule, ...] = (
    # Variety
    Rule(
        "mode_collapse",
        "problem",
        when.mode_collapse,
        "Mode collapse: the images look real, but too few different ones are made.",
        "Look at the gallery of uncovered reference images. In a GAN, weaken the discriminator, use larger or more "
        "varied batches, or a loss with a gradient penalty; in a sampler, lower guidance or truncation.",
    ),
    Rule(
        "missing_modes",
        "problem",
        when.missing_modes,
        "{count} of reference images get none or far too few generated ones.",
        "Look at the named images: the model does not make their kind. Check that the training set has them, and that "
        "no class or prompt is left out when sampling.",
    ),
    Rule(
        "near_repeats",
        "warning",
        when.near_repeats,
        "{share} of the generated images are nearly the same as another one: part of the model has collapsed.",
        "Look at the named images side by side. If they come from one class or prompt, that one has collapsed; else "
        "see that it does not spread: in a GAN weaken the discriminator, in a sampler lower guidance.",
    ),
    Rule(
        "invented_modes",
        "warning",
        when.invented_modes,
        "The model invents a kind of image that the reference does not have ({share} of its images).",
        "Look at the named images. If they are wanted, the reference is too narrow; else look for such images in the "
        "training set, or for samples that diverged.",
    ),
    # Fidelity
    Rule(
        "blurry",
        "problem",
        when.blurry,
        "{which} are blurry.",
        "Look at the least realistic images. A VAE blurs by its pixel loss: lower the KL weight or add a perceptual "
        "loss. In diffusion take more sampling steps. Check that generated images are not resized on the way.",
    ),
    Rule(
        "noisy",
        "problem",
        when.noisy,
        "{which} have noise or artefacts of high frequency.",
        "Look at the least realistic images. In diffusion check the last sampling steps and the noise schedule; in a "
        "GAN look for checkerboards of transposed convolutions.",
    ),
    Rule(
        "unrealistic",
        "problem",
        when.unrealistic,
        "Many generated images do not look like the reference, though they are about as sharp.",
        "Look at the least realistic images for broken shapes, wrong colours, or images of something else. Make sure "
        "that the reference is the distribution that was trained on.",
    ),
    Rule(
        "diverse_but_blurry",
        "warning",
        when.diverse_but_blurry,
        "The variety of the reference is reached, but not its quality: diverse, and unlike real images.",
        "Train for fidelity now: truncation, guidance or a perceptual loss trade variety, of which there is enough, "
        "for quality.",
    ),
    Rule(
        "sharp_but_wrong",
        "problem",
        when.sharp_but_wrong,
        "Not good: each image is clear and the classes vary, but the images are unrealistic.",
        "Trust the distance, not the class score, which never looks at the reference: a classifier can be sure of an "
        "image that no person would take for real. Look at the least realistic images.",
    ),
    Rule(
        "poor_fid",
        "warning",
        when.poor_distance,
        "This FID is {reading} by the published reading (below 50 good, above 100 poor).",
        "See precision and recall for which of quality and variety is missing.",
    ),
    Rule(
        "poor_class_score",
        "warning",
        when.poor_class_score,
        "This Inception Score is poor by the published reading (below 3): images are of no clear class, or all of one.",
        "See precision and recall for which of the two it is. On images of few classes, such as faces, the score is "
        "low by itself: compare it with that of the reference.",
    ),
    # Copies
    Rule(
        "memorisation",
        "problem",
        when.memorisation,
        "{share} of the generated images look like copies of reference images.",
        "Run `genmetrics copies` with the training images: it compares pictures, not features alone. All scores here "
        "flatter a model that copies; score against images that it was not trained on.",
    ),
    Rule(
        "duplicates",
        "warning",
        when.duplicates,
        "A side holds the same image several times.",
        "Remove the repeated images, or find out whether seeds were reused: they narrow every interval and bend the "
        "scores that look at neighbours.",
    ),
    # Numbers of images
    Rule(
        "rank_deficient",
        "info",
        when.rank_deficient,
        "There are fewer images than feature dimensions, so the Fréchet distance says little about the model.",
        "Read KID instead, which is unbiased, or add images.",
    ),
    Rule(
        "too_few_images",
        "info",
        when.too_few_images,
        "There are few images for a Fréchet distance.",
        "Read KID instead, which is unbiased, compare only at equal numbers of images, or add some: 10,000 are usual.",
    ),
    # Traits of the files
    Rule(
        "unlike_sizes",
        "warning",
        files.unlike_sizes,
        "The two sides have images of unlike size or shape.",
        "Bring both sides to one size by one resizing method before scoring: what resizing does to an image is "
        "measured as if the model had done it.",
    ),
    Rule(
        "unlike_jpeg",
        "warning",
        files.unlike_jpeg,
        "One side was compressed as JPEG otherwise than the other.",
        "Save the generated images as PNG and take a reference with the same history: networks see JPEG artefacts "
        "that people do not.",
    ),
    Rule(
        "unlike_colour",
        "warning",
        files.unlike_colour,
        "One side is grey and the other in colour.",
        "Compare grey with grey: convert one side, or check the channels on the way from model to file.",
    ),
    Rule(
        "unlike_brightness",
        "warning",
        files.unlike_brightness,
        "The two sides differ in brightness or contrast.",
        "Check the scaling from the model's output to 0…255: [−1, 1] taken for [0, 1] does this.",
    ),
    # Training
    Rule(
        "collapse_under_strong_discriminator",
        "problem",
        training.collapse_under_discriminator,
        "Mode collapse under a too strong discriminator.",
        "Weaken the discriminator: fewer steps or a lower rate for it, label smoothing, a gradient penalty. Start "
        "again from a checkpoint before the collapse; it rarely recovers.",
    ),
    Rule(
        "accuracy_hides_recall",
        "problem",
        training.accuracy_hides_recall,
        "Not good: a high accuracy hides a low recall.",
        "Do not read accuracy alone: where one kind of picture is rare, or the generator covers little, it is high by "
        "itself. Read recall, AUC, and the coverage of the reference.",
    ),
    Rule(
        "discriminator_too_strong",
        "warning",
        training.discriminator_too_strong,
        "The discriminator is too strong: it tells generated from real nearly always, so the generator learns little.",
        "An accuracy of 80 to 90 % is healthy. Give it fewer steps or a lower rate, or regularise it.",
    ),
    Rule(
        "discriminator_guessing",
        "info",
        training.discriminator_guessing,
        "The discriminator is guessing.",
        "With a good distance and recall the training has converged; with poor ones the discriminator is too weak or "
        "has failed: give it more steps or capacity.",
    ),
    Rule(
        "discriminator_oscillating",
        "warning",
        training.discriminator_oscillating,
        "Training oscillates: discriminator and generator chase each other.",
        "Lower both learning rates, average the generator's weights, and choose the checkpoint by its scores "
        "(`genmetrics track`), not by its age.",
    ),
    Rule(
        "discriminator_memorises",
        "warning",
        training.discriminator_memorises,
        "The discriminator knows its training pictures by heart.",
        "Give it more pictures, augment them for real and generated ones alike (Karras et al. 2020), or stop earlier: "
        "from here on it teaches which pictures are in the training set, not what real ones look like.",
    ),
    # Likelihood
    Rule(
        "misleading_likelihood",
        "warning",
        training.misleading_likelihood,
        "The likelihood is high, but the samples are poor: here it misleads.",
        "Judge samples by the distance and by precision and recall. Likelihood and the quality of samples are largely "
        "independent (Theis, van den Oord and Bethge 2016).",
    ),
    Rule(
        "likelihood_misses_real",
        "warning",
        training.likelihood_misses_real,
        "The samples look real, but real images that the model has not seen are unlikely to it.",
        "It repeats what it knows or leaves out part of the distribution: read recall and coverage, and run "
        "`genmetrics copies` with the training images. Where samples are means of pixels without their noise, as a "
        "VAE's often are, that alone makes them likelier than anything real.",
    ),
    Rule(
        "likelihood_overfits",
        "warning",
        training.likelihood_overfits,
        "The density overfits: training images are likelier than others of the same kind.",
        "Stop earlier, regularise, or take more data; quote the likelihood of unseen images only.",
    ),
)


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """What is wrong with the model, the most serious first. Without anything to say, nothing.

    Each rule of `RULES` looks at the evidence: scores against those of a perfect model at the same number of images,
    features against the reference's own, traits of the files, and where given a training log and likelihoods.
    Of texts, `TEXT_RULES`, and those on training.
    """
    findings = []
    rules = RULES
    if evidence.of_texts:
        rules = TEXT_RULES + tuple(rule for rule in RULES if rule.condition.__module__ == training.__name__)
    for rule in rules:
        facts = rule.condition(evidence)
        if facts is not None:
            findings.append(
                Finding(
                    key=rule.key,
                    severity=rule.severity,
                    claim=rule.claim.format_map(facts.named),
                    evidence=facts.evidence,
                    advice=rule.advice.format_map(facts.named),
                    pictures=_thumbnails(facts.pictures, evidence),
                )
            )
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


def _thumbnails(pictures: Sequence[Picture], evidence: Evidence) -> tuple[Thumbnail, ...]:
    """The pictures that can be read again."""
    found = []
    for picture in pictures[:_PICTURES]:
        source = evidence.source(picture)
        if source is not None:
            found.append(shown(source, picture.position, picture.position, picture.side))
    return tuple(found)
