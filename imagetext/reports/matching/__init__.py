"""The report of a matching model."""
