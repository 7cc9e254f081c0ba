"""build_evaluator: from what a data set says about itself to what is measured on it."""

import os
from typing import Callable, Dict, List, Optional

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.evaluation.setting import Setting, read_setting


def _semantic(setting: Setting) -> List[DatasetEvaluator]:
    none_class = None if setting.vocabulary is None else setting.vocabulary.none_index
    return [
        SemanticEvaluator(
            setting.dataset_name,
            setting.classes,
            fold=setting.fold(),
            background_threshold=setting.background_threshold,
            none_class=none_class,
            gallery=Gallery(),
        )
    ]


# metadata.evaluator_type to what is measured.
EVALUATORS: Dict[str, Callable[[Setting], List[DatasetEvaluator]]] = {
    "sem_seg": _semantic,
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
    if dataset_name in DatasetCatalog:
        kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
        if kind not in EVALUATORS:
            # Not NotImplementedError: detectron2 would catch it and end the run with no result.
            raise ValueError(
                f"data set '{dataset_name}' has evaluator_type {kind!r}; known are "
                f"{sorted(EVALUATORS)}. It is set where the data set is registered"
            )
    setting = read_setting(cfg, dataset_name)
    return OpenVocabEvaluator(
        dataset_name,
        EVALUATORS[kind](setting),
        setting.metadata.get("seen"),
        classes=setting.classes,
        vocabulary=setting.vocabulary,
        output_dir=output_dir or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name),
    )
