"""QueryMeldNet learns a few drawn pictures by heart: matching, losses and results fit together."""

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances

from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.structures import Vocabulary, register_vocabulary
from segplugins.structures.regions import Region, Task
from tests.projects.test_querymeldnet import tiny_config

NAMES = ("red", "green", "blue")
register_vocabulary(Vocabulary("test-meld-colours", NAMES))
# Class, then x0, y0, x1, y1 of each rectangle; pictures are 64 pixels high and 96 wide.
PICTURES = (
    ((0, 4, 6, 40, 36), (1, 52, 20, 88, 60)),
    ((2, 8, 24, 36, 60), (0, 48, 4, 92, 28), (1, 56, 36, 84, 58)),
    ((1, 20, 10, 76, 54),),
)

STEPS = 60


def records_of_pictures():
    records = []
    for number, rectangles in enumerate(PICTURES):
        image = torch.full((3, 64, 96), 110, dtype=torch.uint8)
        masks = torch.zeros(len(rectangles), 64, 96, dtype=torch.bool)
        for mask, (label, x0, y0, x1, y1) in zip(masks, rectangles):
            mask[y0:y1, x0:x1] = True
            image[:, y0:y1, x0:x1] = 30
            image[label, y0:y1, x0:x1] = 230
        instances = Instances((64, 96))
        instances.gt_classes = torch.tensor([label for label, *_ in rectangles])
        instances.gt_boxes = Boxes(torch.tensor([box for _, *box in rectangles]).float())
        instances.gt_masks = BitMasks(masks)
        records.append(
            {
                "image": image, "height": 64, "width": 96, "image_id": number + 1,
                "task": Task.INSTANCE, "vocabulary": "test-meld-colours", "instances": instances,
            }
        )  # fmt: skip
    return records


def truth_of(records):
    truth = []
    for record, rectangles in zip(records, PICTURES):
        regions = [
            Region(NAMES[k], mask=[[x0, y0, x1, y0, x1, y1, x0, y1]], class_index=k)
            for k, x0, y0, x1, y1 in rectangles
        ]
        truth.append(
            {**{k: record[k] for k in ("image_id", "height", "width")}, "regions": regions}
        )
    return truth


def average_precision(model, records, name):
    evaluator = InstanceEvaluator(name, distributed=False)
    with torch.no_grad():
        evaluator.process(records, model.eval()(records))
    return evaluator.evaluate()


def test_three_drawn_pictures_are_learned_by_heart():
    records = records_of_pictures()
    DatasetCatalog.register("meld_by_heart", lambda: truth_of(records))
    MetadataCatalog.get("meld_by_heart").set(thing_classes=list(NAMES))
    try:
        torch.manual_seed(0)
        cfg = tiny_config(NUM_LEARNABLE=4, NUM_CONDITIONAL=8, DN__NUM=12, LOSS__POINTS=256)
        cfg.MODEL.CLIP.TEMPLATES = "single"
        model = build_model(cfg)
        model.classifier.text_encoder.requires_grad_(False)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=2e-3)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1.0, 2 * (1 - step / STEPS))
            optimizer.zero_grad()
            sum(model.train()(records).values()).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
        scores = average_precision(model, records, "meld_by_heart")
    finally:
        DatasetCatalog.remove("meld_by_heart")
        MetadataCatalog.remove("meld_by_heart")
    # 100 and 57 here; a wrong axis, match or sign leaves them near 0.
    assert scores["segm"]["AP"] > 80 and scores["bbox"]["AP"] > 40, scores
