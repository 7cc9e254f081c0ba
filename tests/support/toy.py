"""A paper and a data set as small as can be, for tests of the engine.

Also a command, for tests that need several processes: what it trained and measured is written to
OUTPUT_DIR/outcome.pth. `python tests/support/toy.py --world DIR [train_net.py's arguments]`
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from PIL import Image
from torch import nn
from torch.nn import functional as F

from segplugins.data import register_semantic
from segplugins.engine import (
    argument_parser,
    default_setup,
    evaluate,
    launch,
    run_command,
    setup_cfg,
    train,
)
from segplugins.structures import Vocabulary, get_vocabulary

HEIGHT, WIDTH = 12, 16
WORDS = Vocabulary("toy", ("dark", "bright", "red"))


def add_toy_config(cfg):
    cfg.MODEL.TOY = CfgNode()
    cfg.MODEL.TOY.DROPOUT = 0.0


@META_ARCH_REGISTRY.register()
class ToySegmentor(nn.Module):
    """Two convolutions into a space where every word has a fixed place."""

    learns_from = frozenset({"sem_seg"})
    answers = frozenset({"sem_seg"})

    @configurable
    def __init__(self, *, dropout):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(8, 8, 1)
        self.unused_table = nn.Embedding(2, 3)
        self.unused_table.weight.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg):
        return {"dropout": cfg.MODEL.TOY.DROPOUT}

    def forward(self, records):
        logits = [self.logits(record) for record in records]
        if self.training:
            labels = [record["sem_seg"].to(logits[0].device)[None] for record in records]
            losses = [
                F.cross_entropy(one, label, ignore_index=255) for one, label in zip(logits, labels)
            ]
            return {"loss_toy": torch.stack(losses).mean()}
        return [{"sem_seg": one[0].softmax(0)} for one in logits]

    def logits(self, record):
        image = record["image"][None].to(self.stem.weight.device).float() / 128 - 1
        features = self.head(self.dropout(F.relu(self.norm(self.stem(image)))))
        names = get_vocabulary(record["vocabulary"]).classes
        places = torch.stack([_place(name) for name in names]).to(features)
        return torch.einsum("kd,bdhw->bkhw", places, features)


def _place(word):
    return torch.randn(8, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


def write_world(root, *, train=8, val=4):
    """Images that are dark on one side and bright or red on the other, with their labels."""
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            rng = np.random.default_rng([count, number])
            other = 1 + number % 2
            labels = np.zeros((HEIGHT, WIDTH), np.uint8)
            labels[:, int(rng.integers(4, 13)) :] = other
            labels[0, 0] = 255
            image = np.array([[20, 20, 20], [240, 240, 240], [240, 20, 20]])[labels % 255]
            image = (image + rng.integers(-15, 16, image.shape)).clip(0, 255).astype(np.uint8)
            for kind, array in (("images", image), ("labels", labels)):
                folder = Path(root) / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / f"{number:03d}.png")


def register_world(root):
    for split in ("train", "val"):
        register_semantic(
            f"toy_{split}",
            image_root=str(Path(root).resolve() / "images" / split),
            label_root=str(Path(root).resolve() / "labels" / split),
            vocabulary=WORDS,
            image_ext="png",
        )


OPTIONS = """
    MODEL.META_ARCHITECTURE ToySegmentor  MODEL.DEVICE cpu  INPUT.TARGETS ('sem_seg',)
    INPUT.MIN_SIZE_TRAIN (12,)  INPUT.MIN_SIZE_TEST 12  INPUT.COLOR_AUG_SSD True
    DATASETS.TRAIN ('toy_train',)  DATASETS.TEST ('toy_val',)  DATALOADER.NUM_WORKERS 0
    SOLVER.IMS_PER_BATCH 4  SOLVER.MAX_ITER 6  SOLVER.BASE_LR 0.01  SOLVER.WARMUP_ITERS 0
    SOLVER.LR_SCHEDULER_NAME WarmupCosineLR  SOLVER.CHECKPOINT_PERIOD 3  SEED 7
"""


def main(args):
    register_world(args.world)
    args.opts = OPTIONS.split() + args.opts
    cfg = setup_cfg(args, [add_toy_config])
    default_setup(cfg, resume=args.resume, evaluation=args.eval_only)
    results = evaluate(cfg) if args.eval_only else train(cfg, resume=args.resume)
    if comm.is_main_process() and not args.eval_only:
        weights = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth")["model"]
        torch.save({"weights": weights, "results": results}, f"{cfg.OUTPUT_DIR}/outcome.pth")


if __name__ == "__main__":
    parser = argument_parser(__doc__)
    parser.add_argument("--world", required=True)
    run_command(lambda args: launch(main, args), parser)
