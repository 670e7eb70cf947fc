"""The table of rules where the sides consist of texts: the conditions of `rules` that fit, and those on texts alone."""

from __future__ import annotations

from genmetrics_rt.diagnosis import conditions as when
from genmetrics_rt.diagnosis import text_conditions as texts
from genmetrics_rt.diagnosis.rule import Rule

TEXT_RULES: tuple[Rule, ...] = (
    # Variety
    Rule(
        "mode_collapse",
        "problem",
        when.mode_collapse,
        "Mode collapse: the texts are like real ones, but too few different ones are made.",
        "Look at the reference texts that no generated one comes near. Raise the temperature or the share of top-p, "
        "vary the prompts, and see that seeds are not reused.",
    ),
    Rule(
        "missing_modes",
        "problem",
        when.missing_modes,
        "Topics are missing: {count} of reference texts with no generated ones, or far too few.",
        "Look at the named texts: the model does not write of such things. Check that the training set has them, and "
        "that no prompt or topic is left out when sampling.",
    ),
    Rule(
        "repeated_texts",
        "warning",
        texts.repeated_texts,
        "A side holds the same text several times.",
        "Remove the repeated texts, or find out whether prompts or seeds were reused: they narrow every interval and "
        "bend the scores that look at neighbours.",
    ),
    Rule(
        "near_repeats",
        "warning",
        when.near_repeats,
        "{share} of the generated texts say nearly the same as another one: part of the model has collapsed.",
        "Look at the named texts side by side. If they come from one prompt, that one has collapsed; else raise the "
        "temperature.",
    ),
    Rule(
        "invented_modes",
        "warning",
        when.invented_modes,
        "The model writes of something that the reference does not have ({share} of its texts).",
        "Look at the named texts. If they are wanted, the reference is too narrow; else look for such texts in the "
        "training set, or for prompts that lead elsewhere.",
    ),
    # Fidelity
    Rule(
        "broken_words",
        "problem",
        texts.broken_words,
        "The words of the generated texts are broken: misspelt, or of another language or script.",
        "Look at the least realistic texts. Check the decoding from tokens to text, the temperature, and the language "
        "of both sides.",
    ),
    Rule(
        "unrealistic",
        "problem",
        when.unrealistic,
        "Many generated texts are unlike the reference.",
        "Look at the least realistic texts for broken sentences, another style, or texts about something else. Make "
        "sure that the reference is the distribution that was trained on.",
    ),
    Rule(
        "unlike_lengths",
        "warning",
        texts.unlike_lengths,
        "The generated texts are much {which} than the reference.",
        "Check the limit on tokens and how texts are cut or joined on the way to the file: what length does to an "
        "embedding is measured as if the model had done it.",
    ),
    # Copies
    Rule(
        "memorisation",
        "problem",
        texts.copied_texts,
        "{share} of the generated texts are copies of reference texts, or nearly so.",
        "Look at the pairs. All scores here flatter a model that copies; score against texts that it was not trained "
        "on.",
    ),
    # Numbers of texts
    Rule(
        "rank_deficient",
        "info",
        when.rank_deficient,
        "There are fewer texts than feature dimensions, so the Fréchet distance says little about the model.",
        "Read KID instead, which is unbiased, or add texts.",
    ),
    Rule(
        "too_few_images",
        "info",
        when.too_few_images,
        "There are few texts for a Fréchet distance.",
        "Read KID instead, which is unbiased, compare only at equal numbers of texts, or add some: 5,000 are usual.",
    ),
)
