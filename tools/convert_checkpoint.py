"""Turns a checkpoint of another program into one for MODEL.WEIGHTS, MODEL.CLIP.WEIGHTS or a Swin.

    python tools/convert_checkpoint.py model_final.pth sed_b.pth
    python tools/convert_checkpoint.py ViT-B-16.pt vit_b16.pth --unsafe --name ViT-B-16
    python tools/convert_checkpoint.py swin_base_patch4_window7_224_22k.pth swin_b.pth

Papers: official checkpoints of SED, UniLSeg, GroupViT (CoCu), Mask DINO (QueryMeldNet) and FC-CLIP
(UMG-CLIP); they are compared with the model of the config, and every tensor that does not fit is
named. CLIP: weights of open_clip, OpenAI (TorchScript) or a timm image trunk;
with --name they are compared with that model of open_clip. Swin: Microsoft's, timm's or
torchvision's, written under detectron2's names for MODEL.UNILSEG.SWIN.WEIGHTS and the like (which
read those files unconverted too, if they are plain tensors). No code from the file is run, unless
--unsafe allows it. A checkpoint that fits less than half of the model is an error, and nothing is
written.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import importlib
import importlib.util
import logging
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Dict, Mapping

from segplugins.engine.command import command_parser, run_command
from segplugins.files.write import replacing

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]


def converters() -> Dict[str, ModuleType]:
    """Returns the weights.py of each paper whose official checkpoints can be read, by paper.

    Such a file has is_official(names), convert(tensors) and config_file(tensors).
    """
    from segplugins.projects import load_projects

    found = {}
    for name, package in load_projects().items():
        if importlib.util.find_spec(f"{package.__name__}.weights") is not None:
            module = importlib.import_module(f"{package.__name__}.weights")
            if hasattr(module, "is_official"):
                found[name] = module
    return found


def convert_paper(
    weights: ModuleType, tensors: Mapping[str, "Tensor"], args: argparse.Namespace
) -> Dict[str, "Tensor"]:
    """Renames the tensors of a paper's checkpoint and compares them with the paper's model."""
    from detectron2.modeling import build_model

    from segplugins.engine import setup_cfg
    from segplugins.engine.convert import OWN_BUFFERS, fit
    from segplugins.projects import load_projects

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


def _forget_weights(node: "CfgNode") -> None:
    from detectron2.config import CfgNode

    for key, value in node.items():
        if isinstance(value, CfgNode):
            _forget_weights(value)
        elif key == "WEIGHTS":
            node[key] = ""


def convert_clip(tensors: Mapping[str, "Tensor"], args: argparse.Namespace) -> Dict[str, "Tensor"]:
    """Gives the tensors of a CLIP open_clip's names."""
    from segplugins.engine.convert import clip_names

    renamed, unused = clip_names(tensors)
    if unused:
        print(f"  {len(unused)} that a CLIP does not have: {', '.join(unused)}")
    if not renamed:
        raise ValueError(
            f"'{args.input}' has neither the names of a CLIP nor of one of the papers "
            f"{sorted(converters())} nor of a Swin; it begins with {sorted(tensors)[:3]}"
        )
    return renamed


def convert_swin(tensors: Mapping[str, "Tensor"], args: argparse.Namespace) -> Dict[str, "Tensor"]:
    """Gives the tensors of a Swin detectron2's names."""
    from segplugins.modeling.swin import swin_names

    renamed, unused = swin_names(tensors)
    if not renamed:
        raise ValueError(
            f"'{args.input}' holds no Swin (version 1); it begins with {sorted(tensors)[:3]}"
        )
    if unused:
        print(f"  {len(unused)} that a backbone does not have: {', '.join(unused)}")
    return renamed


def kind_of(tensors: Mapping[str, "Tensor"], papers: Mapping[str, ModuleType]) -> str:
    """Returns what a checkpoint is of, by its names."""
    from segplugins.modeling.swin import swin_names

    for name, paper in papers.items():
        if paper.is_official(tensors):
            return name
    return "swin" if swin_names(tensors)[0] else "clip"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    parser.add_argument("input", help="checkpoint to read; it is never changed")
    parser.add_argument("output", help=".pth file to write")
    parser.add_argument(
        "--kind",
        metavar="KIND",
        help="what it is of: clip, swin or a paper such as sed; default: told by its names",
    )
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="config of the paper's model that it is compared with; default: the released one",
    )
    parser.add_argument("--name", default="", help="open_clip model that a CLIP is compared with")
    parser.add_argument(
        "--unsafe", action="store_true", help="read files that could run code: trusted ones only"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the output file if there is one already"
    )
    return parser


def check_output(args: argparse.Namespace) -> None:
    """Refuses to write over the input, and over another file unless asked to."""
    source, target = Path(args.input), Path(args.output)
    if target.is_dir():
        raise ValueError(f"'{target}' is a folder; name the .pth file to write")
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"output '{target}' is the input itself; name another file")
    if target.exists() and not args.overwrite:
        raise ValueError(f"'{target}' exists; name another file, or replace it with --overwrite")


def main(args: argparse.Namespace) -> None:
    """Reads, converts, compares, writes."""
    check_output(args)
    import torch

    from segplugins.clip import load_clip
    from segplugins.engine.convert import read_tensors

    papers = converters()
    if args.kind not in (None, "clip", "swin", *papers):
        raise ValueError(f"--kind '{args.kind}': expected clip, swin or one of {sorted(papers)}")
    args.opts, args.num_gpus = [], None
    logging.basicConfig(level=logging.INFO, format="  %(message)s")
    tensors = read_tensors(args.input, unsafe=args.unsafe)
    kind = args.kind or kind_of(tensors, papers)
    print(f"{args.input}: {len(tensors)} tensors, read as {kind}")
    if kind == "clip":
        converted = convert_clip(tensors, args)
    elif kind == "swin":
        converted = convert_swin(tensors, args)
    else:
        converted = {"model": convert_paper(papers[kind], tensors, args)}
    with replacing(args.output) as temporary:
        torch.save(converted, temporary)
        if kind == "clip" and args.name:
            load_clip(args.name, str(temporary))
    print(f"written to {args.output}")


if __name__ == "__main__":
    run_command(main, parser(), kept="nothing was written; the same command starts again")
