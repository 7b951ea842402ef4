"""Finding the photo for a text, and the text for a photo."""
