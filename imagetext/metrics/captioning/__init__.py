"""How good captions are: BLEU, ROUGE-L, METEOR and CIDEr-D, in Python alone.

score.py is the door; one metric a file; tokens.py splits captions into words for all of them.
"""
