"""Config node of PairTune. Each key is read once, in `PairTune.from_config`."""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.PAIRTUNE."""
    cfg.MODEL.PAIRTUNE = node = CN()
    # Side of a patch in pixels.
    node.PATCH = 8
