"""What a captioning report shows, and the metrics behind it."""
