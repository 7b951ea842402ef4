"""The command line: one small module per group of verbs."""

from imagetext.commands.verbs import main

__all__ = ["main"]
