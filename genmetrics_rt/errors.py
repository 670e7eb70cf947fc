"""Everything that can go wrong, as one tree.

    GenmetricsError                      exit code 3: something failed on our side
    └── InputError                       exit code 2: what was given cannot be used
        ├── MissingInput                 a path or a name that does not exist
        ├── UnreadableInput              it exists, but it is damaged, unsafe or of an unknown kind
        ├── EmptySide                    no image (or feature row) is left to score
        ├── TooFewImages                 a metric needs more images than there are
        ├── NonFiniteFeatures            NaN or infinity among the features
        ├── FeatureMismatch              the two sides do not belong together
        ├── UnknownMetric                a metric that does not exist on these features
        ├── BundleError                  a bundle that is refused
        │   ├── MissingBundle            no bundle of that name, or its weights are not here
        │   └── DamagedBundle            a hash, a size or a manifest that does not hold
        ├── DeviceUnavailable            the device that was asked for is not there
        └── MissingPackage               an optional package that is not installed

A message gives fact, meaning and way out; the command line prints it without a stack trace.
"""

from __future__ import annotations


class GenmetricsError(Exception):
    """Base of all errors raised on purpose by this package."""

    exit_code = 3


class InputError(GenmetricsError, ValueError):
    """What the caller gave cannot be used."""

    exit_code = 2


class MissingInput(InputError):
    """A path or a name that does not exist."""


class UnreadableInput(InputError):
    """An input that exists but is damaged, unsafe or of an unknown kind."""


class EmptySide(InputError):
    """No image or feature row is left to score."""


class TooFewImages(InputError):
    """A metric needs more images than there are."""


class NonFiniteFeatures(InputError):
    """NaN or infinity among the features."""


class FeatureMismatch(InputError):
    """The two sides do not belong together: other dimension, extractor or protocol."""


class UnknownMetric(InputError):
    """A metric that does not exist, or does not exist on these features."""


class BundleError(InputError):
    """A bundle that is refused."""


class MissingBundle(BundleError):
    """No bundle of that name, or its weights are not here."""


class DamagedBundle(BundleError):
    """A hash, a size or a manifest that does not hold."""


class DeviceUnavailable(InputError):
    """The device that was asked for is not there; there is no silent fall-back to the CPU."""


class MissingPackage(InputError):
    """An optional package that is needed for this and is not installed."""


def first_line(error: BaseException) -> str:
    """What another library's exception says, short enough to stand in a message of ours."""
    return (str(error).strip() or repr(error)).splitlines()[0][:300]
