"""The figures of a captioning report."""

from imagetext.reports.kit.figures import Figure, percentage, points

FIGURES = {
    **{f"bleu_{n}": points(f"BLEU-{n}") for n in range(1, 5)},
    "meteor": points("METEOR"),
    "rouge_l": points("ROUGE-L"),
    "cider_d": points("CIDEr-D"),
    "spice": points("SPICE"),
    "similarity": Figure("MiniLM similarity, mean over references"),
    "similarity_best": Figure("MiniLM similarity, best reference"),
    "caption_score": Figure("Caption score, without references"),
    "cross_entropy": Figure("Cross-entropy per word", higher_is_better=False),
    "perplexity": Figure("Perplexity", digits=2, higher_is_better=False),
    "token_accuracy": percentage("Token accuracy"),
}
#: The baseline's key in report.json, and what it is called: the most frequent training caption, for
#: every photo.
BASELINE, BASELINE_NAME = "one for all", "constant caption"
