"""Image towers and text towers, their preprocessing, and where their weights come from."""
