"""Copies and leaks: whether a model repeats its training images, and whether the training set holds its own test."""
