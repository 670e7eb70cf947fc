"""Which feature networks this server offers, and the weights that belong to their publisher."""

from __future__ import annotations

import logging
import os
import threading

import genmetrics_rt as gm

CONCURRENT = 2  # jobs at a time: while one scores, the other reads
# "1": fetch the weights of inception-fid in the background. On a Space that is the default.
FETCH = os.environ.get("GENMETRICS_DEMO_FETCH", "1" if "SPACE_ID" in os.environ else "0") == "1"
_LOG = logging.getLogger("genmetrics_demo")
_TITLES = {
    "scattering": "Built-in: wavelet scattering",
    "digits-classifier": "Classifier of digits",
    "inception-fid": "ImageNet Inception: published FID",
}


def has_published_fid() -> bool:
    """Whether the weights of the network behind published FID are here."""
    return not gm.load_bundle("inception-fid").is_weight_free


def extractors() -> list[tuple[str, str]]:
    """Title and name of each network that can run now."""
    names = [name for name in _TITLES if name != "inception-fid" or has_published_fid()]
    return [(_TITLES[name], name) for name in names]


def protocols(extractor: str) -> list[str]:
    return list(gm.load_bundle(extractor).manifest.protocols)


def note() -> str:
    """How to get the FID that papers print, where it is not here."""
    if has_published_fid():
        return "The FID that papers print is under *Advanced*: choose the ImageNet Inception as features."
    if FETCH:
        return (
            "This page fetches the weights of the ImageNet Inception (95 MB, from their publisher) in the background: "
            "reload it in a minute, and the FID that papers print is under *Advanced*. Until then it uses the built-in "
            "features."
        )
    return (
        "The FID that papers print needs weights that belong to their publisher and are not on this server: "
        "`genmetrics bundles fetch inception-fid` (95 MB), then reload. Until then the page uses the built-in "
        "features, which see texture, blur and noise well, and what a picture shows hardly at all."
    )


def fetch_in_background() -> None:
    """Start to fetch the weights, if that is wanted and needed."""
    if FETCH and not has_published_fid():
        threading.Thread(target=_fetch, name="genmetrics-fetch", daemon=True).start()


def _fetch() -> None:
    try:
        gm.fetch_bundle("inception-fid")
    except Exception:  # without a network the page goes on as it is
        _LOG.warning("the weights of inception-fid could not be fetched", exc_info=True)
