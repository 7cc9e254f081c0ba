"""Config node of UMG-CLIP. Each key is read once, in a `from_config` or in build.py.

The CLIP itself is MODEL.CLIP.*; learning rates are SOLVER.LR_MULTIPLIERS and LAYER_DECAY.
"""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.UMG_CLIP: the image tower, the losses of the pre-training, the dense model.

    Args:
        cfg: changed in place.
    """
    cfg.MODEL.UMG_CLIP = node = CN()
    _add_tower(node)
    _add_pretraining(node)
    _add_dense(node)


def _add_tower(node: CN) -> None:
    node.TOWER = tower = CN()
    # "" = the image tower of MODEL.CLIP.NAME; or "timm/<name>", any ViT, ConvNeXt or other model of
    # timm that offers feature maps. It gets a new projection into the space of MODEL.CLIP's texts,
    # unless MODEL.CLIP.WEIGHTS is what pre-training has written of this very tower.
    tower.NAME = ""
    # Of such a timm model: a local file of its names; "package" = of an installed package, for
    # models that have one (efficientnet_lite0); "" = random.
    tower.WEIGHTS = ""
    # What is trained of it: "all", its "adapters" (PET.WIDTH) or "none".
    tower.TRAINED = "all"
    # Of a ViT: "keep", or "value_only": its last block mixes no tokens (CLIPSelf).
    tower.LAST_ATTENTION = "keep"
    # Blocks of a ViT are computed again in the backward pass and keep nothing for it.
    tower.CHECKPOINT = False

    # Convpass adapters beside attention and MLP of every block (Eq. 4): channels between, 0 = none;
    # factor; "gelu" or "quickgelu"; dropout; start of the 3x3 convolution, "identity" or "xavier";
    # "both" branches or "attention" alone. The paper leaves width and factor open; these are
    # Convpass's.
    node.PET = CN({"WIDTH": 0, "SCALE": 0.1, "ACTIVATION": "gelu", "DROPOUT": 0.1})
    node.PET.START = "identity"
    node.PET.BRANCHES = "both"

    # Fewer tokens in pre-training (Sec. 4.1): "none", "density" (clusters) or "random" (masking);
    # blocks before it; share of tokens that stay; neighbours of the density; nearness on the grid,
    # with the weight of a token's own place and the number of places that it looks at. The paper
    # leaves all numbers open.
    node.CLUSTER = CN({"KIND": "none", "AFTER_BLOCK": 2, "KEEP": 0.5, "NEIGHBOURS": 5})
    node.CLUSTER.SPATIAL = True
    node.CLUSTER.ALPHA = 0.5
    node.CLUSTER.REACH = 50


def _add_pretraining(node: CN) -> None:
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
    # How tags are learned from: "regression" of their embeddings, or "contrastive" as captions
    # (Table 8).
    node.TAG_LOSS = "regression"
    # Most regions of an image that these losses draw.
    node.MAX_REGIONS = 10


def _add_dense(node: CN) -> None:
    node.DENSE = dense = CN()
    # Width, heads, queries, layers and feed-forward channels of the mask decoder.
    dense.HIDDEN_DIM = 256
    dense.NHEADS = 8
    dense.QUERIES = 250
    dense.DEC_LAYERS = 9
    dense.DIM_FEEDFORWARD = 2048
    # Pixel decoder; backend and checkpoint of its attention as in MODEL.QMN.ENCODER.
    dense.ENCODER = CN({"LAYERS": 6, "DIM_FEEDFORWARD": 1024, "POINTS": 4})
    dense.ENCODER.BACKEND = "auto"
    dense.ENCODER.CHECKPOINT = False
    # Weights of the losses, the costs of the matching have the same; weight of "no object"; points
    # of a mask, candidates for each, share of them that are the most uncertain.
    dense.LOSS = CN({"CLASS": 2.0, "MASK": 5.0, "DICE": 5.0, "NO_OBJECT": 0.1})
    dense.LOSS.POINTS = 12544
    dense.LOSS.OVERSAMPLE = 3.0
    dense.LOSS.IMPORTANCE = 0.75
    # Second opinion at test, of CLIP features pooled under the masks: of the tower without adapters
    # ("frozen", a second pass), of the "adapted" one, or "none". Its weight for classes that were
    # trained and for others; ONLY_VALID: none for queries whose mask has no cell.
    dense.OUTSIDE = "frozen"
    dense.ALPHA = 0.4
    dense.BETA = 0.8
    dense.ONLY_VALID = False
    # Vocabularies or data sets whose classes were trained; [] = those of DATASETS.TRAIN.
    dense.SEEN = []
    # At test: most instances of an image; lowest score (not included) and lowest kept share of
    # panoptic segments; masks resized at a time.
    dense.TEST = CN({"TOPK": 100, "SCORE_THRESHOLD": 0.0, "OVERLAP_THRESHOLD": 0.8})
    dense.TEST.MASK_CHUNK = 16


RANGES = {
    "MODEL.UMG_CLIP.TOWER.TRAINED": ("all", "adapters", "none"),
    "MODEL.UMG_CLIP.TOWER.LAST_ATTENTION": ("keep", "value_only"),
    "MODEL.UMG_CLIP.PET.WIDTH": "[0, inf)",
    "MODEL.UMG_CLIP.PET.SCALE": "(0, inf)",
    "MODEL.UMG_CLIP.PET.ACTIVATION": ("gelu", "quickgelu"),
    "MODEL.UMG_CLIP.PET.DROPOUT": "[0, 1)",
    "MODEL.UMG_CLIP.PET.START": ("identity", "xavier"),
    "MODEL.UMG_CLIP.PET.BRANCHES": ("both", "attention"),
    "MODEL.UMG_CLIP.CLUSTER.KIND": ("none", "density", "random"),
    "MODEL.UMG_CLIP.CLUSTER.AFTER_BLOCK": "[1, inf)",
    "MODEL.UMG_CLIP.CLUSTER.KEEP": "(0, 1]",
    "MODEL.UMG_CLIP.CLUSTER.NEIGHBOURS": "[1, inf)",
    "MODEL.UMG_CLIP.CLUSTER.ALPHA": "[0, 1]",
    "MODEL.UMG_CLIP.CLUSTER.REACH": "[1, inf)",
    "MODEL.UMG_CLIP.CAPTION_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.PRESENCE_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.ASSIGNMENT_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.REGION_CAPTION_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.IMAGE_TAG_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.REGION_TAG_WEIGHT": "[0, inf)",
    "MODEL.UMG_CLIP.TAG_LOSS": ("regression", "contrastive"),
    "MODEL.UMG_CLIP.MAX_REGIONS": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.HIDDEN_DIM": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.NHEADS": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.QUERIES": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.DEC_LAYERS": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.DIM_FEEDFORWARD": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.ENCODER.LAYERS": "[0, inf)",
    "MODEL.UMG_CLIP.DENSE.ENCODER.DIM_FEEDFORWARD": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.ENCODER.POINTS": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.ENCODER.BACKEND": ("auto", "torch", "triton"),
    "MODEL.UMG_CLIP.DENSE.LOSS.CLASS": "[0, inf)",
    "MODEL.UMG_CLIP.DENSE.LOSS.MASK": "[0, inf)",
    "MODEL.UMG_CLIP.DENSE.LOSS.DICE": "[0, inf)",
    "MODEL.UMG_CLIP.DENSE.LOSS.NO_OBJECT": "[0, inf)",
    "MODEL.UMG_CLIP.DENSE.LOSS.POINTS": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.LOSS.OVERSAMPLE": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.LOSS.IMPORTANCE": "[0, 1]",
    "MODEL.UMG_CLIP.DENSE.OUTSIDE": ("frozen", "adapted", "none"),
    "MODEL.UMG_CLIP.DENSE.ALPHA": "[0, 1]",
    "MODEL.UMG_CLIP.DENSE.BETA": "[0, 1]",
    "MODEL.UMG_CLIP.DENSE.TEST.TOPK": "[1, inf)",
    "MODEL.UMG_CLIP.DENSE.TEST.SCORE_THRESHOLD": "[0, 1]",
    "MODEL.UMG_CLIP.DENSE.TEST.OVERLAP_THRESHOLD": "[0, 1]",
    "MODEL.UMG_CLIP.DENSE.TEST.MASK_CHUNK": "[1, inf)",
}
