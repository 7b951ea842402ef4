"""Metrics of image-text retrieval: ranks, recall, and re-ranking."""
