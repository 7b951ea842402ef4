"""What the rest of imagetext knows about captioning."""

from imagetext.task import Companion, Service, Task

TASK = Task(
    name="captioning",
    label="captioning",
    title="Captioning",
    config="imagetext.captioning.config:CaptioningConfig",
    trainer="imagetext.captioning.train:train",
    resumer="imagetext.captioning.train:resume_run",
    evaluator="imagetext.captioning.evaluate:evaluate",
    loader="imagetext.captioning.predict:CaptioningModel.load",
    comparison="imagetext.reports.captioning.comparison:COMPARISON",
    exporter="imagetext.captioning.export:export",
    service=Service(
        role="caption",
        open="imagetext.captioning.service:CaptioningService.open",
        ensembles=True,
    ),
    verbs={"caption": "caption {run} {photo}"},
    companions={
        "scorer": Companion(
            task="retrieval",
            open="imagetext.retrieval.predict:caption_judge",
            argument="judge",
            purpose="scores captions",
        )
    },
)
