"""The naive twin of imagetext.captioning.decoding: one photo, plain Python, no state.

`predict(prefix)` returns the log probability of every word after `prefix`, a tuple that begins with
start; it is called anew for each prefix. Nothing stops early: each search continues to the largest
length, and so shows whether the real one is right to stop when it does.
"""

import itertools
import math
from collections import Counter


def search(predict, config, words, max_words):
    """The best `config.beams` captions as [(words and end, log probability, score)], best first."""
    groups = config.groups if config.method == "diverse" else 1
    width = config.beams // groups
    live = [[((words.start,), 0.0)] for _ in range(groups)]
    finished = [[] for _ in range(groups)]
    for position in range(max_words + 1):
        chosen = Counter()
        for group in range(groups):
            continuations = []
            for beam, (prefix, total) in enumerate(live[group]):
                log_ps = predict(prefix)
                for word, log_p in enumerate(log_ps):
                    sizes = (max_words, len(log_ps))
                    if log_p > -math.inf and is_allowed(prefix, word, config, words, *sizes):
                        value = total + log_p - config.diversity * chosen[word]
                        continuations.append((-value, beam, word, (*prefix, word), total + log_p))
            continuations.sort(key=lambda continuation: continuation[:3])
            for *_, word, prefix, total in continuations[:width]:
                if word == words.end:
                    score = total / (position + 1) ** config.length_penalty
                    finished[group].append((list(prefix[1:]), total, score))
            finished[group] = sort_by_score(finished[group])[:width]
            live_on = [each for each in continuations if each[2] != words.end][:width]
            if width == 1 and finished[group]:
                live_on = []
            live[group] = [(prefix, total) for *_, prefix, total in live_on]
            chosen.update(prefix[-1] for prefix, _ in live[group])
    return sort_by_score(itertools.chain.from_iterable(finished))


def all_captions(predict, config, words, max_words):
    """All possible captions, in the form that `search` returns."""
    captions, prefixes = [], [((words.start,), 0.0)]
    while prefixes:
        prefix, total = prefixes.pop()
        log_ps = predict(prefix)
        for word, log_p in enumerate(log_ps):
            if not is_allowed(prefix, word, config, words, max_words, len(log_ps)):
                continue
            if word == words.end:
                score = (total + log_p) / len(prefix) ** config.length_penalty
                captions.append(([*prefix[1:], word], total + log_p, score))
            else:
                prefixes.append(((*prefix, word), total + log_p))
    return sort_by_score(captions)


def greedy(predict, words, max_words):
    """The likeliest word, again and again."""
    prefix = (words.start,)
    while prefix[-1] != words.end and len(prefix) <= max_words:
        log_p = predict(prefix)
        allowed = [word for word in range(len(log_p)) if word not in words.excluded]
        allowed = [word for word in allowed if len(prefix) > 1 or word != words.end]
        prefix += (max(allowed, key=lambda word: log_p[word]),)
    return [*prefix[1:]] if prefix[-1] == words.end else [*prefix[1:], words.end]


def is_allowed(prefix, word, config, words, max_words, size):
    if word in words.excluded or (len(prefix) > max_words and word != words.end):
        return False
    others = set(range(size)) - {*words.excluded, words.end}
    if word == words.end and len(prefix) == 1 and max_words and others:  # no empty captions
        return False
    length, sequence = config.no_repeat, (*prefix, word)
    earlier = [sequence[start : start + length] for start in range(len(sequence) - length)]
    return not length or sequence[-length:] not in earlier


def log_probability(predict, caption, start):
    """The log probability of a caption with its end."""
    prefix, total = (start,), 0.0
    for word in caption:
        total += predict(prefix)[word]
        prefix += (word,)
    return total


def sort_by_score(captions):
    return sorted(captions, key=lambda caption: -caption[2])  # stable: the earlier wins a tie
