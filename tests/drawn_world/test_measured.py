"""The truth of the world, handed to the evaluators as a prediction, scores 100 everywhere."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import Boxes, Instances
from PIL import Image

from segplugins.config import add_shared_config
from segplugins.data import SegMapper, load_dataset, read_regions
from segplugins.data.catalog import dataset_metadata
from segplugins.evaluation.build import build_evaluator
from segplugins.evaluation.targets import phrase_targets, phrases


def labels(record, sample, metadata):
    pixels = np.asarray(Image.open(record["sem_seg_file_name"])).astype(np.int64)
    return {"sem_seg": torch.from_numpy(pixels)}


def segments(record, sample, metadata):
    rgb = np.asarray(Image.open(record["pan_seg_file_name"])).astype(np.int64)
    ids = torch.from_numpy(rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2])
    return {"panoptic_seg": (ids, record["segments_info"])}


def things(record, sample, metadata):
    regions, size = read_regions(record, metadata), (sample["height"], sample["width"])
    found = Instances(size)
    found.pred_classes = torch.tensor([region.class_index for region in regions])
    found.scores = torch.ones(len(regions))
    found.pred_boxes = Boxes(torch.tensor([region.box for region in regions]))
    found.pred_masks = torch.from_numpy(np.stack([region.bitmap(*size) for region in regions]))
    return {"instances": found}


def answers(record, sample, metadata):
    size = (sample["height"], sample["width"])
    masks, _ = phrase_targets(record, phrases(sample, record), size)
    return {"phrase_masks": torch.from_numpy(masks)}


@pytest.mark.parametrize(
    ("kind", "predict", "expected"),
    [
        ("sem_seg", labels, {"sem_seg": ["mIoU", "mIoU_seen", "mIoU_unseen", "hIoU"]}),
        ("attributes", labels, {"sem_seg": ["mIoU", "mIoU_seen", "mIoU_unseen", "hIoU"]}),
        ("parts", labels, {"sem_seg": ["mIoU", "mIoU_unseen"]}),
        ("panoptic", segments, {"panoptic_seg": ["PQ", "PQ_th", "PQ_st", "PQ_unseen"]}),
        ("instance", things, {"bbox": ["AP", "AP_unseen"], "segm": ["AP", "AP_unseen"]}),
        ("referring", answers, {"referring": ["oIoU", "mIoU", "Pr@0.9"]}),
        ("grefer", answers, {"referring": ["gIoU", "cIoU", "N_acc", "T_acc"]}),
    ],
)
def test_the_truth_scores_100(world, monkeypatch, tmp_path, kind, predict, expected):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(world.root.parent))
    name = f"drawn_val_unseen_{kind}"
    cfg = get_cfg()
    add_shared_config(cfg)
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.DATASETS.TEST = (name,)
    evaluator, mapper = build_evaluator(cfg, name), SegMapper(cfg, is_train=False)
    evaluator.reset()
    for record in load_dataset(name):
        sample = mapper(record)
        evaluator.process([sample], [predict(record, sample, dataset_metadata(name))])
    results = evaluator.evaluate()
    for task, metrics in expected.items():
        for metric in metrics:
            assert results[task][metric] == pytest.approx(100), metric
