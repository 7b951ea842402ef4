"""Keras layers and losses that several tasks share."""
