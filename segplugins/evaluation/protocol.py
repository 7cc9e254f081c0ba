"""The protocol: all that must be equal for a number to be measured again."""

from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from detectron2.config import CfgNode

from segplugins.evaluation.setting import Setting, read_setting
from segplugins.files.digests import file_digest

_AVERAGING = {
    "mIoU": "over classes that occur in the truth (detectron2)",
    "mIoU_union": "over classes that occur in the truth or the predictions (mmsegmentation)",
}


def describe_protocol(
    cfg: CfgNode, dataset_names: Optional[Sequence[str]] = None, weights: Optional[str] = None
) -> Dict[str, Dict[str, Any]]:
    """Describes how each data set is measured, for `write_results`.

    Args:
        cfg: of the run.
        dataset_names: None = DATASETS.TEST.
        weights: file of the model measured. None = MODEL.WEIGHTS.

    Returns:
        data set to what can be written as JSON.
    """
    model = _model(cfg, cfg.MODEL.WEIGHTS if weights is None else weights)
    names = cfg.DATASETS.TEST if dataset_names is None else dataset_names
    return {name: {**_data(read_setting(cfg, name)), **model} for name in names}


def _data(setting: Setting) -> Dict[str, Any]:
    seen, vocabulary = setting.metadata.get("seen"), setting.vocabulary
    described: Dict[str, Any] = {
        "measured": setting.metadata.get("evaluator_type"),
        "classes": list(setting.classes),
        "seen": None if seen is None else [setting.classes[index] for index in seen],
        "averaging": _AVERAGING,
        "ignore": {
            "label": setting.ignore_label,
            "classes without a name": [setting.classes[i] for i in setting.unanswerable],
        },
        "background": None
        if setting.background_threshold is None
        else {
            "class": setting.classes[setting.background],
            "where scores are below": setting.background_threshold,
        },
        "options": _plain(setting.metadata.get("evaluator_options", {})),
        "licence": setting.metadata.get("licence"),
        "group": setting.metadata.get("group"),
    }
    if vocabulary is not None:
        described["vocabulary"] = {
            "name": vocabulary.name,
            "digest": vocabulary.digest(),
            "names": len(vocabulary),
            "the data set's own": setting.is_own,
            "none_class": vocabulary.none_class,
            "templates": None if vocabulary.templates is None else list(vocabulary.templates),
        }
    if setting.class_map is not None:
        described["class_map"] = list(setting.class_map)
    return described


def _model(cfg: CfgNode, weights: str) -> Dict[str, Any]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    memory = {"memory": _plain(cfg.MODEL.MEMORY)} if cfg.MODEL.MEMORY.WEIGHT else {}
    return {
        "templates": cfg.MODEL.CLIP.TEMPLATES,
        "resize": {
            "short side": cfg.INPUT.MIN_SIZE_TEST,
            "long side at most": cfg.INPUT.MAX_SIZE_TEST,
        },
        "model": {
            "architecture": architecture,
            # Windows, top-k, thresholds and whatever else the paper's own node sets.
            "settings": _plain(_node_of(cfg, architecture)),
            "clip": cfg.MODEL.CLIP.NAME,
            "clip_weights": cfg.MODEL.CLIP.WEIGHTS,
            **memory,
        },
        "test": _plain(cfg.TEST),
        "checkpoint": {"file": weights, "sha256": file_hash(weights)},
    }


def _node_of(cfg: CfgNode, architecture: str) -> CfgNode:
    """Returns the paper's node: MODEL.SED of "SED", MODEL.UMG_CLIP of "UMGCLIPSegmentor"."""
    fitting = [
        key
        for key, node in cfg.MODEL.items()
        if isinstance(node, CfgNode)
        and architecture.lower().startswith(key.replace("_", "").lower())
    ]
    return cfg.MODEL[max(fitting, key=len)] if fitting else CfgNode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def file_hash(path: str) -> Optional[str]:
    """Returns the SHA-256 of a local file in hex digits; None where there is no such file."""
    if not Path(path).is_file():
        return None
    return file_digest(path)
