"""build_evaluator: from what a data set says about itself to what is measured on it."""

import os
from typing import Callable, Dict, List, Optional

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.evaluation.panoptic import PanopticEvaluator
from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.evaluation.setting import Setting, read_setting


def _semantic(setting: Setting) -> DatasetEvaluator:
    none_class = None if setting.vocabulary is None else setting.vocabulary.none_index
    return SemanticEvaluator(
        setting.dataset_name,
        setting.classes,
        fold=setting.fold(),
        background_threshold=setting.background_threshold,
        none_class=none_class,
        gallery=Gallery(),
    )


def _under_own_names(
    build: Callable[[str], DatasetEvaluator],
) -> Callable[[Setting], DatasetEvaluator]:
    """For evaluators that compare class by class and cannot fold one vocabulary into another."""

    def checked(setting: Setting) -> DatasetEvaluator:
        if not setting.is_own:
            raise ValueError(
                f"'{setting.dataset_name}' can only be measured under its own names; leave "
                f"TEST.VOCABULARY ('{setting.vocabulary.name}') away, or see the answers to other "
                "names with tools/demo.py"
            )
        return build(setting.dataset_name)

    return checked


# metadata.evaluator_type to what is measured. A set with several gives a list of them.
EVALUATORS: Dict[str, Callable[[Setting], DatasetEvaluator]] = {
    "sem_seg": _semantic,
    "coco": _under_own_names(InstanceEvaluator),
    "lvis": _under_own_names(InstanceEvaluator),
    "panoptic": _under_own_names(PanopticEvaluator),
    # As detectron2 calls its own sets.
    "coco_panoptic_seg": _under_own_names(PanopticEvaluator),
    "ade20k_panoptic_seg": _under_own_names(PanopticEvaluator),
    "referring": lambda setting: ReferringEvaluator(setting.dataset_name),
    "generalised_referring": lambda setting: ReferringEvaluator(
        setting.dataset_name, generalised=True
    ),
}


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_dir: Optional[str] = None
) -> OpenVocabEvaluator:
    """Builds what measures a model on a data set.

    Args:
        cfg: reads TEST.VOCABULARY, TEST.BACKGROUND_THRESHOLD and OUTPUT_DIR.
        dataset_name: registered; its metadata names the "evaluator_type".
        output_dir: where details for the report go. None: OUTPUT_DIR/inference/<data set>.

    Returns:
        An evaluator whose results are {task: {metric: percent}}.

    Raises:
        KeyError: no such data set.
        ValueError: its evaluator_type is not one of `EVALUATORS`, or see `read_setting`.
    """
    setting = read_setting(cfg, dataset_name)
    return OpenVocabEvaluator(
        dataset_name,
        [EVALUATORS[kind](setting) for kind in _kinds(setting)],
        setting.metadata.get("seen"),
        classes=setting.classes,
        vocabulary=setting.vocabulary,
        output_dir=output_dir or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name),
    )


def _kinds(setting: Setting) -> List[str]:
    kinds = setting.metadata.get("evaluator_type")
    kinds = [kinds] if kinds is None or isinstance(kinds, str) else list(kinds)
    for kind in kinds:
        if kind not in EVALUATORS:
            # Not NotImplementedError: detectron2 would catch it and end the run with no result.
            raise ValueError(
                f"data set '{setting.dataset_name}' has evaluator_type {kind!r}; known are "
                f"{sorted(EVALUATORS)}. It is set where the data set is registered"
            )
    return kinds
