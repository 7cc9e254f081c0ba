"""build_evaluator: from what a data set says about itself to what is measured on it."""

import os
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Type

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.instances import InstanceEvaluator
from segplugins.evaluation.open_vocab import OpenVocabEvaluator
from segplugins.evaluation.panoptic import PanopticEvaluator
from segplugins.evaluation.ref_davis import RefDavisEvaluator
from segplugins.evaluation.referring import ReferringEvaluator
from segplugins.evaluation.salient import SalientEvaluator
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.evaluation.setting import Setting, read_setting
from segplugins.evaluation.video import VideoEvaluator
from segplugins.evaluation.zero_shot import ClassificationEvaluator, RetrievalEvaluator
from segplugins.files.label_coding import read_truth

Build = Callable[..., DatasetEvaluator]  # (setting, folder of what it writes, **options)


def _semantic(setting: Setting, folder: str, **options: Any) -> DatasetEvaluator:
    return SemanticEvaluator(
        setting.dataset_name,
        setting.classes,
        fold=setting.fold(),
        background_threshold=setting.background_threshold,
        none_class=None if setting.vocabulary is None else setting.vocabulary.none_index,
        background=setting.background,
        **{**_truth_reader(setting), **options},
    )


def _truth_reader(setting: Setting) -> Dict[str, Any]:
    """Returns how label files are read if their values are not the classes themselves."""
    coding = setting.metadata.get("label_coding")
    if coding is None or coding.is_plain:
        return {}  # the fold looks labels up, run by run
    return {"read_truth": partial(read_truth, coding=coding, ignore_label=setting.ignore_label)}


def _plain(evaluator: Type[DatasetEvaluator]) -> Build:
    """Returns how to build an evaluator that needs only the name of the data set."""
    return lambda setting, folder, **options: evaluator(setting.dataset_name, **options)


def _writing(evaluator: Type[DatasetEvaluator]) -> Build:
    """Returns how to build an evaluator that also writes its predictions for a server."""

    def build(setting: Setting, folder: str, **options: Any) -> DatasetEvaluator:
        options = {"output_dir": os.path.join(folder, "submission"), **options}
        return evaluator(setting.dataset_name, **options)

    return build


def _under_own_names(evaluator: Type[DatasetEvaluator]) -> Build:
    """Returns how to build an evaluator that cannot fold one vocabulary into another."""

    def build(setting: Setting, folder: str, **options: Any) -> DatasetEvaluator:
        if not setting.is_own:
            raise ValueError(
                f"'{setting.dataset_name}' can only be measured under its own names; leave "
                f"TEST.VOCABULARY ('{setting.vocabulary.name}') away, or see the answers to other "
                "names with tools/demo.py"
            )
        return evaluator(setting.dataset_name, **options)

    return build


# metadata.evaluator_type to what is measured. A set with several gives a list of them, and options
# for their constructors as evaluator_options: {type: {argument: value}}.
EVALUATORS: Dict[str, Build] = {
    "sem_seg": _semantic,
    "coco": _under_own_names(InstanceEvaluator),
    "lvis": _under_own_names(InstanceEvaluator),
    "panoptic": _under_own_names(PanopticEvaluator),
    # As detectron2 calls its own sets.
    "coco_panoptic_seg": _under_own_names(PanopticEvaluator),
    "ade20k_panoptic_seg": _under_own_names(PanopticEvaluator),
    "referring": _plain(ReferringEvaluator),
    "generalised_referring": _plain(partial(ReferringEvaluator, generalised=True)),
    "salient": _plain(SalientEvaluator),
    "video": _writing(VideoEvaluator),
    "ref_davis": _writing(RefDavisEvaluator),
    "classification": _under_own_names(ClassificationEvaluator),
    "retrieval": _plain(RetrievalEvaluator),
}
# Evaluators without masks to paint on pictures.
_WITHOUT_MASKS = ("classification", "retrieval")


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_dir: Optional[str] = None
) -> OpenVocabEvaluator:
    """Builds what measures a model on a data set.

    Args:
        cfg: reads TEST.VOCABULARY, TEST.BACKGROUND_THRESHOLD and OUTPUT_DIR.
        dataset_name: registered; its metadata names the "evaluator_type".
        output_dir: where details for the report and submissions go. None:
            OUTPUT_DIR/inference/<data set>.

    Returns:
        An evaluator whose results are {task: {metric: percent}}.

    Raises:
        KeyError: no such data set.
        ValueError: its evaluator_type is not one of `EVALUATORS`, or see `read_setting`.
    """
    setting = read_setting(cfg, dataset_name)
    folder = output_dir or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name)
    return OpenVocabEvaluator(
        dataset_name,
        [_evaluator(kind, setting, folder) for kind in _kinds(setting)],
        setting.metadata.get("seen"),
        classes=setting.classes,
        vocabulary=setting.vocabulary,
        output_dir=folder,
    )


def _evaluator(kind: str, setting: Setting, folder: str) -> DatasetEvaluator:
    options = dict(setting.metadata.get("evaluator_options", {}).get(kind, {}))
    if kind not in _WITHOUT_MASKS:
        options = {"gallery": Gallery(), **options}
    try:
        return EVALUATORS[kind](setting, folder, **options)
    except TypeError as error:
        raise ValueError(
            f"'{setting.dataset_name}': evaluator_options of '{kind}' are not its options: {error}"
        ) from error


def _kinds(setting: Setting) -> List[str]:
    kinds = setting.metadata.get("evaluator_type")
    kinds = [kinds] if kinds is None or isinstance(kinds, str) else list(kinds)
    for kind in kinds:
        if kind is None and setting.metadata.get("kind") == "pairs":
            raise ValueError(
                f"data set '{setting.dataset_name}' holds image-text pairs, which are trained on "
                "and not scored; leave it out of DATASETS.TEST, or describe its pictures and "
                "captions by kind: retrieval"
            )
        if kind not in EVALUATORS:
            # Not NotImplementedError: detectron2 would catch it and end the run with no result.
            raise ValueError(
                f"data set '{setting.dataset_name}' has evaluator_type {kind!r}; known are "
                f"{sorted(EVALUATORS)}. It is set where the data set is registered"
            )
    return kinds
