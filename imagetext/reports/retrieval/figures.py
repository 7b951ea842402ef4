"""The figures of a retrieval report."""

from imagetext.reports.kit.figures import Figure, register, share

RETRIEVAL = register(
    {
        "text_r1": share("Photo for a text: R@1"),
        "text_r5": share("Photo for a text: R@5"),
        "text_r10": share("Photo for a text: R@10"),
        "text_median": Figure("Photo for a text: median place", digits=1, higher_is_better=False),
        "text_mrr": Figure("Photo for a text: mean reciprocal place"),
        "photo_r1": share("Text for a photo: R@1"),
        "photo_r5": share("Text for a photo: R@5"),
        "photo_r10": share("Text for a photo: R@10"),
        "photo_median": Figure("Text for a photo: median place", digits=1, higher_is_better=False),
        "photo_mrr": Figure("Text for a photo: mean reciprocal place"),
        "mean_recall": share("Mean of the six recalls"),
    }
)
