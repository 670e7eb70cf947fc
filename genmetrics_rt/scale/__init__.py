"""Sides of a million images and more: cut into leaves that any number of processes compute and one joins."""
