"""What a retrieval report shows, and the ranks behind it."""
