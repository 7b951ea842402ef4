"""The report of a retrieval model."""
