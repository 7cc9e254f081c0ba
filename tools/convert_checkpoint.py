"""Turns a checkpoint of another program into one for MODEL.WEIGHTS, MODEL.CLIP.WEIGHTS or a Swin.

    python tools/convert_checkpoint.py model_final.pth sed_b.pth
    python tools/convert_checkpoint.py ViT-B-16.pt vit_b16.pth --unsafe --name ViT-B-16
    python tools/convert_checkpoint.py swin_base_patch4_window7_224_22k.pth swin_b.pth

Papers: their official checkpoints; they are compared with the model of the config, and every tensor
that does not fit is named. CLIP: weights of open_clip, OpenAI (TorchScript) or a timm image trunk;
with --name they are compared with that model of open_clip. Swin: Microsoft's, timm's or
torchvision's, written under detectron2's names for MODEL.UNILSEG.SWIN.WEIGHTS and the like (which
read those files unconverted too, if they are plain tensors). No code from the file is run, unless
--unsafe allows it. A checkpoint that fits less than half of the model is an error, and nothing is
written.
"""

import argparse
import importlib.util
import logging
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Dict, Mapping

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from segplugins.clip import load_clip
from segplugins.engine import setup_cfg
from segplugins.engine.convert import OWN_BUFFERS, clip_names, fit, read_tensors
from segplugins.modeling.swin import swin_names
from segplugins.projects import load_projects

ROOT = Path(__file__).resolve().parents[1]


def converters() -> Dict[str, ModuleType]:
    """Returns: paper to its weights.py, for the papers whose official checkpoints can be read.

    Such a file has is_official(names), convert(tensors) and config_file(tensors).
    """
    found = {}
    for name, package in load_projects().items():
        if importlib.util.find_spec(f"{package.__name__}.weights") is not None:
            module = importlib.import_module(f"{package.__name__}.weights")
            if hasattr(module, "is_official"):
                found[name] = module
    return found


def convert_paper(
    weights: ModuleType, tensors: Mapping[str, Tensor], args: argparse.Namespace
) -> Dict[str, Tensor]:
    """Renames the tensors of a paper's checkpoint and compares them with the paper's model."""
    args.config_file = args.config_file or str(ROOT / weights.config_file(tensors))
    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()]).clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    _forget_weights(cfg.MODEL)  # nothing to download or to look for, only to compare names
    model = build_model(cfg).state_dict()
    renamed, unused = weights.convert(tensors)
    own = {name: value for name, value in model.items() if name.endswith(OWN_BUFFERS)}
    renamed = {**own, **renamed}
    found = fit(renamed, model, unused=unused)
    print(f"{len(found.fitting)} of {len(model)} tensors of the model of {args.config_file} fit")
    for line in found.report():
        print(f"  {line}")
    return {name: renamed[name] for name in found.fitting}


def _forget_weights(node: CfgNode) -> None:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            _forget_weights(value)
        elif key == "WEIGHTS":
            node[key] = ""


def convert_clip(tensors: Mapping[str, Tensor], args: argparse.Namespace) -> Dict[str, Tensor]:
    """Gives the tensors of a CLIP open_clip's names."""
    renamed, unused = clip_names(tensors)
    if unused:
        print(f"  {len(unused)} that a CLIP does not have: {', '.join(unused)}")
    if not renamed:
        raise ValueError(
            f"'{args.input}' has neither the names of a CLIP nor of one of the papers "
            f"{sorted(converters())} nor of a Swin; it begins with {sorted(tensors)[:3]}"
        )
    return renamed


def convert_swin(tensors: Mapping[str, Tensor], args: argparse.Namespace) -> Dict[str, Tensor]:
    """Gives the tensors of a Swin detectron2's names."""
    renamed, unused = swin_names(tensors)
    if not renamed:
        raise ValueError(
            f"'{args.input}' holds no Swin (version 1); it begins with {sorted(tensors)[:3]}"
        )
    if unused:
        print(f"  {len(unused)} that a backbone does not have: {', '.join(unused)}")
    return renamed


def kind_of(tensors: Mapping[str, Tensor], papers: Mapping[str, ModuleType]) -> str:
    """Returns: what a checkpoint is of, by its names."""
    for name, paper in papers.items():
        if paper.is_official(tensors):
            return name
    return "swin" if swin_names(tensors)[0] else "clip"


def main() -> None:
    """Reads, converts, compares, writes."""
    known = converters()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("input", help="checkpoint to read")
    parser.add_argument("output", help=".pth file to write")
    parser.add_argument(
        "--kind", choices=["clip", "swin", *known], help="what it is of; default: told by its names"
    )
    parser.add_argument(
        "--config-file", default="", help="of the paper's model it is compared with"
    )
    parser.add_argument("--name", default="", help="open_clip model that a CLIP is compared with")
    parser.add_argument(
        "--unsafe", action="store_true", help="read files that could run code: trusted ones only"
    )
    args = parser.parse_args()
    args.opts, args.num_gpus = [], None
    logging.basicConfig(level=logging.INFO, format="  %(message)s")
    partial = f"{args.output}.part"
    try:
        tensors = read_tensors(args.input, unsafe=args.unsafe)
        kind = args.kind or kind_of(tensors, known)
        print(f"{args.input}: {len(tensors)} tensors, read as {kind}")
        if kind == "clip":
            converted = convert_clip(tensors, args)
        elif kind == "swin":
            converted = convert_swin(tensors, args)
        else:
            converted = {"model": convert_paper(known[kind], tensors, args)}
        os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
        torch.save(converted, partial)
        if kind == "clip" and args.name:
            load_clip(args.name, partial)
        os.replace(partial, args.output)
    except (ValueError, FileNotFoundError) as error:
        Path(partial).unlink(missing_ok=True)
        sys.exit(f"error: {error}")
    print(f"written to {args.output}")


if __name__ == "__main__":
    main()
