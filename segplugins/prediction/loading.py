"""load: a config and weights to a Segmenter; nothing is segmented with weights that do not fit."""

import hashlib
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from torch import nn

from segplugins.data.augmentations import build_augmentations
from segplugins.engine.checkpoint import Match, load_weights, without_part_weights
from segplugins.engine.convert import OWN_BUFFERS
from segplugins.engine.preflight import check_memory, check_weights
from segplugins.engine.read_config import apply_settings, option_settings
from segplugins.engine.run import setup_cfg
from segplugins.engine.steps import PRECISIONS
from segplugins.engine.zoo_weights import PREFIX
from segplugins.projects import load_projects
from segplugins.zoo import Entry, entry_of

from .segmenter import Segmenter, Settings

CHECKOUT = Path(__file__).resolve().parents[2]
# Sections of a config that decide what a model answers.
_ANSWERING = ("MODEL", "INPUT", "TEST")


def load(
    config: Union[str, Path, CfgNode],
    weights: Optional[Union[str, Path]] = None,
    *,
    device: Optional[Union[str, torch.device]] = None,
    options: Sequence[str] = (),
    random_weights: bool = False,
) -> Segmenter:
    """Builds a model and loads its weights.

    Args:
        config: a config file, a config, or the name of an entry of the zoo (docs/zoo.md), which
            brings its weights: "sed_convnext_b".
        weights: checkpoint, or "zoo://NAME"; None = MODEL.WEIGHTS of the config.
        device: "cpu", "cuda", "cuda:1", ...; None = MODEL.DEVICE of the config.
        options: config changes as on the command line: ["TEST.LABEL_MAPS", "False"].
        random_weights: build the model with random weights, to try it out. Its masks are noise.

    Returns:
        The model as one call; see `Segmenter`.

    Raises:
        ConfigError: the config or an option has a mistake.
        FileNotFoundError: no such weights.
        ValueError: no weights are named, or they fit the model only in part.
    """
    if _is_zoo_name(config):
        entry = entry_of(str(config))
        config = _config_file(entry)
        weights = weights or f"{PREFIX}{entry.name}"
    cfg = read_config(config, options)
    cfg.defrost()
    if device is not None:
        cfg.MODEL.DEVICE = str(device)
    if weights is not None:
        cfg.MODEL.WEIGHTS = str(weights)
    check_named_weights(cfg, random_weights=random_weights)
    check_memory(cfg)
    path = cfg.MODEL.WEIGHTS
    training_names: Sequence[str] = ()
    if path:
        # What parts of the model would begin with is replaced as a whole: not even looked for.
        cfg = without_part_weights(cfg)
        cfg.defrost()
    cfg.TEST.LABEL_MAPS = True
    cfg.freeze()
    model = build_model(cfg)
    if path:
        match = load_weights(model, path)
        check_whole(match, path)
        training_names = match.training_names
    return segmenter_of(cfg, model, path, training_names=training_names)


def check_named_weights(cfg: CfgNode, *, random_weights: bool) -> None:
    """Looks at MODEL.WEIGHTS before a model is built.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: neither or both of weights and random weights are asked for, or the file is
            plainly damaged.
    """
    if not cfg.MODEL.WEIGHTS and not random_weights:
        raise ValueError(
            "no weights: name a checkpoint (MODEL.WEIGHTS on the command line, weights= in "
            "Python); a model with random weights paints noise, and --random-weights "
            "(random_weights=True) asks for it"
        )
    if random_weights and cfg.MODEL.WEIGHTS:
        raise ValueError(f"random weights and '{cfg.MODEL.WEIGHTS}' exclude each other; name one")
    check_weights(cfg.MODEL.WEIGHTS)


def read_config(config: Union[str, Path, CfgNode], options: Sequence[str] = ()) -> CfgNode:
    """Returns a config of its own, with the nodes of all papers and the options in it.

    Raises:
        ConfigError: see `segplugins.engine.setup_cfg`.
    """
    if isinstance(config, CfgNode):
        cfg = config.clone()
        cfg.defrost()
        apply_settings(cfg, option_settings(options))
        return cfg
    args = Namespace(config_file=str(config), opts=list(options))
    return setup_cfg(args, [paper.add_config for paper in load_projects().values()]).clone()


def segmenter_of(
    cfg: CfgNode, model: nn.Module, weights: str = "", *, training_names: Sequence[str] = ()
) -> Segmenter:
    """Returns a model that is built already as one call; its weights are as they are.

    Args:
        cfg: INPUT says how pictures are brought to size.
        model: of this config.
        weights: where they came from, for messages.
        training_names: names of the classes that they were trained on, as far as known.
    """
    settings = Settings(
        augmentations=partial(build_augmentations, cfg, False),
        vocabulary=_default_vocabulary(cfg),
        clip_name=cfg.MODEL.CLIP.NAME if "CLIP" in cfg.MODEL else "",
        training_names=tuple(training_names),
        precision=PRECISIONS[cfg.SOLVER.AMP.DTYPE] if cfg.TEST.AMP.ENABLED else None,
        identity=_identity(cfg, model, weights),
    )
    return Segmenter(model, settings)


def check_whole(match: Match, path: str) -> None:
    """Raises ValueError where weights leave entries of the model as they were at random.

    Buffers that a model computes itself are no part of that.
    """
    missing = [name for name in match.missing if not name.endswith(OWN_BUFFERS)]
    lacking = missing + match.misshaped
    if lacking:
        kinds = [
            f"{len(names)} {what} ({names[0]}{', ...' if len(names) > 1 else ''})"
            for what, names in (("missing", missing), ("of another shape", match.misshaped))
            if names
        ]
        raise ValueError(
            f"weights '{path}' fit {match.loaded} of the model's {match.loaded + len(lacking)} "
            f"entries: {' and '.join(kinds)}; name the config that they were trained with, or "
            "convert them with tools/convert_checkpoint.py"
        )


def weights_digest(model: nn.Module) -> str:
    """Returns 16 hex digits that change with any weight of a model."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        array = value.detach().cpu().contiguous().reshape(-1)
        digest.update(array.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _is_zoo_name(config: Union[str, Path, CfgNode]) -> bool:
    return isinstance(config, str) and not config.endswith((".yaml", ".yml")) and "/" not in config


def _config_file(entry: Entry) -> Path:
    path = CHECKOUT / entry.config
    if not path.is_file():
        raise FileNotFoundError(
            f"'{entry.name}' needs {entry.config} of the repository, which an installed package "
            "does not hold; give a config file and weights='zoo://...' instead"
        )
    return path


def _default_vocabulary(cfg: CfgNode) -> Optional[str]:
    """The words of the config: TEST.VOCABULARY, or those of its first data set."""
    if cfg.TEST.VOCABULARY:
        return cfg.TEST.VOCABULARY
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    if names and names[0] in MetadataCatalog:
        return MetadataCatalog.get(names[0]).as_dict().get("vocabulary")
    return None


def _identity(cfg: CfgNode, model: nn.Module, weights: str) -> Dict[str, Any]:
    sections = {name: cfg[name].clone() for name in _ANSWERING}
    sections["MODEL"].defrost()
    sections["MODEL"].WEIGHTS = sections["MODEL"].DEVICE = ""
    text = "\n".join(section.dump() for section in sections.values())
    return {
        "model": cfg.MODEL.META_ARCHITECTURE,
        "config": hashlib.sha256(text.encode()).hexdigest()[:16],
        "weights": weights_digest(model),
        "weights_file": weights or "random",
    }
