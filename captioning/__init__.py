"""Captioning: describe a photo in words."""
