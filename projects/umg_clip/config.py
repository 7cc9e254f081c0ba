"""Config node of UMG-CLIP. Each key is read once, in `ClipPretraining.from_config`."""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.UMG_CLIP: factors on the losses of the pre-training.

    Args:
        cfg: changed in place.
    """
    cfg.MODEL.UMG_CLIP = node = CN()
    # An image and its caption.
    node.CAPTION_WEIGHT = 1.0
    # An image and its tags: a name is present in some cells. Needs tags or regions. 0 = off.
    node.PRESENCE_WEIGHT = 1.0
    # A boxed name belongs to the cells of its box. Needs regions. 0 = off.
    node.ASSIGNMENT_WEIGHT = 1.0
    # The paper's (Eq. 3; 1.0 each there): a region and its caption; an image, and a region, and its
    # tags. Off, because the figures of the drawn world were measured without them.
    node.REGION_CAPTION_WEIGHT = 0.0
    node.IMAGE_TAG_WEIGHT = 0.0
    node.REGION_TAG_WEIGHT = 0.0
    # Most regions of an image that these losses draw.
    node.MAX_REGIONS = 10


RANGES = {
    "MODEL.UMG_CLIP.CAPTION_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.PRESENCE_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.ASSIGNMENT_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.REGION_CAPTION_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.IMAGE_TAG_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.REGION_TAG_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.MAX_REGIONS": "[1, inf)",
}
