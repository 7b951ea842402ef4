"""Comparing the runs of a task."""
