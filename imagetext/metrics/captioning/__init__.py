"""Caption metrics in pure Python: BLEU, ROUGE-L, METEOR and CIDEr-D.

corpus.py computes all of them for a set of captions, with confidence intervals; scores.py does so
for several models at once. Each metric has a module of its own, and tokens.py splits captions into
words for all of them.
"""
