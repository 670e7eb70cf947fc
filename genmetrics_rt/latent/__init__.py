"""The latent space of a generator: how smooth it is, and whether its directions mean one thing each."""
