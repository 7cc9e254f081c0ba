"""Config node of BoxVote. Each key is read once, in `BoxVote.from_config`."""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.BOXVOTE."""
    cfg.MODEL.BOXVOTE = node = CN()
    # Side of a patch in pixels.
    node.PATCH = 8
