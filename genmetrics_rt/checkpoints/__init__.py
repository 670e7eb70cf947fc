"""Weights as their publishers keep them, read without torch, without TensorFlow, and without running anything."""
