"""What the rest of imagetext knows about retrieval."""

from imagetext.task import Companion, Service, Task

TASK = Task(
    name="retrieval",
    label="retrieval",
    title="Retrieval",
    config="imagetext.retrieval.config:RetrievalConfig",
    trainer="imagetext.retrieval.train:train",
    resumer="imagetext.retrieval.train:resume_run",
    evaluator="imagetext.retrieval.evaluate:evaluate",
    loader="imagetext.retrieval.predict:RetrievalModel.load",
    comparison="imagetext.reports.retrieval.comparison:COMPARISON",
    exporter="imagetext.retrieval.export:export",
    service=Service(
        role="search",
        open="imagetext.retrieval.service:RetrievalService.open",
        check="imagetext.retrieval.service:check",
        sample_source="imagetext.retrieval.service:sample_source",
    ),
    verbs={
        "index build": "index build {run} FOLDER --to INDEX",
        "classify": "classify {run} {photo} LABEL LABEL",
    },
    companions={
        "rerank": Companion(
            task="itm",
            open="imagetext.itm.rerank:pair_matcher",
            argument="matcher",
            purpose="re-ranks searches",
        )
    },
)
