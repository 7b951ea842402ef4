"""How well photos and captions find each other."""
