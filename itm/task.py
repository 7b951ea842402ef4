"""What the rest of imagetext knows about matching."""

from imagetext.task import Service, Task

TASK = Task(
    name="itm",
    label="matching",
    title="Image-text matching",
    config="imagetext.itm.config:ITMConfig",
    trainer="imagetext.itm.train:train",
    resumer="imagetext.itm.train:resume_run",
    evaluator="imagetext.itm.evaluate:evaluate",
    loader="imagetext.itm.predict:MatchingModel.load",
    comparison="imagetext.reports.matching.comparison:COMPARISON",
    predictor="imagetext.itm.predict:predict",
    exporter="imagetext.itm.export:export",
    service=Service(
        role="match",
        open="imagetext.itm.service:MatchingService.open",
        sample_overrides={"report.controls": False},
    ),
    verbs={"predict": 'predict {run} {photo} "A caption"'},
)
