"""Precision, XLA, strategy, optimizer and schedule, fit, checkpoint, resume. Knows no task."""
