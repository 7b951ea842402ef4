"""What imagetext.captioning.decoding finds, found the slow way: one photo, plain Python, no state.

`speak(prefix)` gives the log probability of every word after `prefix`, a tuple that begins with
start; it is asked for each prefix anew. Nothing stops early: each search goes to the longest
caption, so that it shows whether the real one may stop where it does.
"""

import itertools
import math
from collections import Counter


def search(speak, config, words, longest):
    """[(words and end, log probability, score)], best first; at most `config.beams`."""
    groups = config.groups if config.method == "diverse" else 1
    width = config.beams // groups
    live = [[((words.start,), 0.0)] for _ in range(groups)]
    finished = [[] for _ in range(groups)]
    for place in range(longest + 1):
        said = Counter()
        for group in range(groups):
            ways = []
            for beam, (prefix, log_p) in enumerate(live[group]):
                answers = speak(prefix)
                for word, its in enumerate(answers):
                    room = (longest, len(answers))
                    if its > -math.inf and allowed(prefix, word, config, words, *room):
                        value = log_p + its - config.diversity * said[word]
                        ways.append((-value, beam, word, (*prefix, word), log_p + its))
            ways.sort(key=lambda way: way[:3])
            for *_, word, prefix, log_p in ways[:width]:
                if word == words.end:
                    score = log_p / (place + 1) ** config.length_penalty
                    finished[group].append((list(prefix[1:]), log_p, score))
            finished[group] = best(finished[group])[:width]
            on = [way for way in ways if way[2] != words.end][:width]
            if width == 1 and finished[group]:
                on = []
            live[group] = [(prefix, log_p) for *_, prefix, log_p in on]
            said.update(prefix[-1] for prefix, _ in live[group])
    return best(itertools.chain.from_iterable(finished))


def all_captions(speak, config, words, longest):
    """Every caption there is, as `search` gives them."""
    found, prefixes = [], [((words.start,), 0.0)]
    while prefixes:
        prefix, log_p = prefixes.pop()
        answers = speak(prefix)
        for word, its in enumerate(answers):
            if not allowed(prefix, word, config, words, longest, len(answers)):
                continue
            if word == words.end:
                score = (log_p + its) / len(prefix) ** config.length_penalty
                found.append(([*prefix[1:], word], log_p + its, score))
            else:
                prefixes.append(((*prefix, word), log_p + its))
    return best(found)


def greedy(speak, words, longest):
    """The likeliest word, again and again."""
    prefix = (words.start,)
    while prefix[-1] != words.end and len(prefix) <= longest:
        log_p = speak(prefix)
        may = [word for word in range(len(log_p)) if word not in words.never]
        may = [word for word in may if len(prefix) > 1 or word != words.end]
        prefix += (max(may, key=lambda word: log_p[word]),)
    return [*prefix[1:]] if prefix[-1] == words.end else [*prefix[1:], words.end]


def allowed(prefix, word, config, words, longest, size):
    if word in words.never or (len(prefix) > longest and word != words.end):
        return False
    others = set(range(size)) - {*words.never, words.end}
    if word == words.end and len(prefix) == 1 and longest and others:  # a caption has a word
        return False
    run, said = config.no_repeat, (*prefix, word)
    earlier = [said[start : start + run] for start in range(len(said) - run)]
    return not run or said[-run:] not in earlier


def log_probability(speak, caption, start):
    """Of words and end."""
    prefix, total = (start,), 0.0
    for word in caption:
        total += speak(prefix)[word]
        prefix += (word,)
    return total


def best(found):
    return sorted(found, key=lambda caption: -caption[2])  # stable: the earlier wins a tie
