"""Captioning: describe photos in words."""
