"""The figures of a captioning report."""

from imagetext.reports.kit.figures import Figure, points, register, share

CAPTIONING = register(
    {
        **{f"bleu_{n}": points(f"BLEU-{n}") for n in range(1, 5)},
        "meteor": points("METEOR"),
        "rouge_l": points("ROUGE-L"),
        "cider_d": points("CIDEr-D"),
        "spice": points("SPICE"),
        "similarity": Figure("MiniLM similarity to the references, mean"),
        "similarity_best": Figure("MiniLM similarity to the nearest reference"),
        "caption_score": Figure("Caption score, without references"),
        "cross_entropy": Figure("Cross-entropy a word", higher_is_better=False),
        "perplexity": Figure("Perplexity", digits=2, higher_is_better=False),
        "token_accuracy": share("Token accuracy"),
    }
)
