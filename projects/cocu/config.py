"""Config node of CoCu. Each key is read once, in `CoCu.from_config`.

MODEL.CLIP.TEMPLATES are the prompts of class names at test ("simple" is the paper's), and
TEST.BACKGROUND_THRESHOLD is that of the data set under test.
"""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.COCU with GroupViT's ViT-S, which CoCu trains.

    Args:
        cfg: changed in place.
    """
    cfg.MODEL.COCU = node = CN()
    # Image encoder: side of training images and of patches in pixels, width, blocks and heads of
    # each stage, group tokens of each (0 = no grouping) and the tokens that a grouping leaves.
    node.IMAGE = CN({"SIZE": 224, "PATCH": 16, "WIDTH": 384, "DROP_PATH": 0.1})
    node.IMAGE.DEPTHS = [6, 3, 3]
    node.IMAGE.HEADS = [6, 6, 6]
    node.IMAGE.GROUP_TOKENS = [64, 8, 0]
    node.IMAGE.OUTPUT_GROUPS = [64, 8]
    # Standard deviation of the image encoder's first linear weights. The published value fits the
    # published width: in a narrow encoder, tokens then hardly tell groups apart.
    node.IMAGE.INIT_STD = 0.02
    # Text encoder: width (64 channels a head), blocks, most tokens.
    node.TEXT = CN({"WIDTH": 256, "LAYERS": 12, "CONTEXT": 77})
    # Projectors into the shared space: hidden width, and width of the space.
    node.PROJECTOR = CN({"HIDDEN": 4096, "OUT": 256})
    # Concepts of an image beside its caption (L); if it has fewer, its caption is repeated.
    # 0 = the caption alone.
    node.LABELS = 3
    # Share of the images of a training step of which a part is erased (timm's RandomErasing, filled
    # with noise for every pixel).
    node.ERASING = 0.0
    # Which concepts of an image's archive (DATASETS.SIDECARS, of tools/curate_concepts.py) a step
    # takes: "cluster", one of each cluster (the paper); "topk", the best (Table 3's naive
    # sampling); "cluster_code", "softmax", "uniform", or "captions", retrieved captions instead.
    node.SAMPLER = "cluster"
    # Prompts of concepts in training, a set of segplugins/text/template_sets.
    node.TEMPLATES = "imagenet80"
    # "code": every concept must be near; "paper": one is enough (Eq. 3).
    node.LOSS_FORM = "code"
    # At test: windows of SIZE pixels every STRIDE, averaged; the whole image at once otherwise.
    node.SLIDING = CN({"ENABLED": False, "SIZE": 448, "STRIDE": 224})
    # Masks that follow the edges of the picture (local consistency, PAMR).
    node.LOCAL_CONSISTENCY = False


RANGES = {
    "MODEL.COCU.IMAGE.SIZE": "[1, inf)",
    "MODEL.COCU.IMAGE.PATCH": "[1, inf)",
    "MODEL.COCU.IMAGE.WIDTH": "[1, inf)",
    "MODEL.COCU.IMAGE.DROP_PATH": "[0, 1)",
    "MODEL.COCU.IMAGE.INIT_STD": "(0, inf)",
    "MODEL.COCU.IMAGE.DEPTHS": "int [1, inf)",
    "MODEL.COCU.IMAGE.HEADS": "int [1, inf)",
    "MODEL.COCU.IMAGE.GROUP_TOKENS": "int [0, inf)",
    "MODEL.COCU.IMAGE.OUTPUT_GROUPS": "int [1, inf)",
    "MODEL.COCU.TEXT.WIDTH": "[64, inf)",
    "MODEL.COCU.TEXT.LAYERS": "[1, inf)",
    "MODEL.COCU.TEXT.CONTEXT": "[2, inf)",
    "MODEL.COCU.PROJECTOR.HIDDEN": "[1, inf)",
    "MODEL.COCU.PROJECTOR.OUT": "[1, inf)",
    "MODEL.COCU.LABELS": "[0, inf)",
    "MODEL.COCU.ERASING": "[0, 1]",
    "MODEL.COCU.SAMPLER": ("cluster", "topk", "cluster_code", "softmax", "uniform", "captions"),
    "MODEL.COCU.LOSS_FORM": ("code", "paper"),
    "MODEL.COCU.SLIDING.SIZE": "[1, inf)",
    "MODEL.COCU.SLIDING.STRIDE": "[1, inf)",
}
