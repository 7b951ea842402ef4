"""The report of a captioning model."""
