"""Config node of PatchVote. Each key is read once, in `PatchVote.from_config`."""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.PATCHVOTE."""
    cfg.MODEL.PATCHVOTE = node = CN()
    # Side of a patch in pixels: the stride of the answer.
    node.PATCH = 8
    # tau of Eq. 2; lower is sharper.
    node.TEMPERATURE = 0.07
    # Side of the square of patches that vote for the one in its middle. 1 = no vote.
    node.WINDOW = 3
