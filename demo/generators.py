"""The shipped generators, as the tab "Scorecard", what is computed for it beforehand and the static Space have them."""

from __future__ import annotations

# Name → what it is.
GENERATORS = {
    "digits-vae": "Variational autoencoder",
    "digits-gan": "GAN",
    "digits-flow": "Normalising flow",
    "digits-diffusion": "Diffusion model",
    "digits-memoriser": "Model that copies",
}
# Of the generators that can say how probable an image is: name → its density.
DENSITIES = {"digits-vae": "digits-vae-density", "digits-flow": "digits-flow-density"}
NUM_PATHS = 200  # of a path length here: enough to see who is smooth, a tenth of the time of published figures
