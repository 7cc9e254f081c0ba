"""Config node of QueryMeldNet. Each key is read once, in `QueryMeldNet.from_config`.

The text tower and its templates are MODEL.CLIP.*; learning rates of backbone and text tower are
SOLVER.LR_MULTIPLIERS; names of an image in training are INPUT.MAX_TEXTS.
"""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.QMN with the paper's main setting; what it leaves open is Mask DINO's.

    Args:
        cfg: changed in place.
    """
    cfg.MODEL.QMN = node = CN()
    _add_encoders(node)
    _add_decoder(node)
    _add_losses(node)

    # At test: most instances of an image; lowest score and lowest kept share of panoptic segments;
    # temperature of the choice between texts (0 = none); masks resized at a time.
    node.TEST = CN({"TOPK": 100, "SCORE_THRESHOLD": 0.25, "OVERLAP_THRESHOLD": 0.8})
    node.TEST.TEMPERATURE = 0.06
    node.TEST.MASK_CHUNK = 16


def _add_encoders(node: CN) -> None:
    """Adds backbone and pixel decoder."""
    node.BACKBONE = backbone = CN()
    # "swin_t", "swin_b", "swin_l"; "clip": the image tower of MODEL.CLIP, a ConvNeXt, with its
    # weights; or "timm/<name>": any model of timm that offers feature maps, with the pixel
    # statistics that timm knows for it.
    backbone.NAME = "swin_l"
    # "" = random; a local file; of a timm model also "package": of an installed package.
    backbone.WEIGHTS = ""
    # Highest stochastic depth of a Swin; it rises evenly over the blocks.
    backbone.DROP_PATH = 0.3

    # Pixel decoder: maps that are refined, finest first, and coarser levels added to them. Five
    # levels (res2 too) cost four times the memory of four.
    node.ENCODER = encoder = CN()
    encoder.REFINED = ["res3", "res4", "res5"]
    encoder.EXTRA_LEVELS = 1
    encoder.LAYERS = 6
    encoder.DIM_FEEDFORWARD = 2048
    encoder.POINTS = 4
    encoder.MASK_DIM = 256
    # Deformable attention by "torch" or "triton" (CUDA); "auto" takes Triton where it can.
    # CHECKPOINT computes samples again in the backward pass and keeps none of them.
    encoder.BACKEND = "auto"
    encoder.CHECKPOINT = False


def _add_decoder(node: CN) -> None:
    """Adds the decoder, its queries and the class head."""
    # Width, heads, layers and points of the decoder.
    node.HIDDEN_DIM = 256
    node.NHEADS = 8
    node.DEC_LAYERS = 9
    node.DIM_FEEDFORWARD = 2048
    node.POINTS = 4
    node.DROPOUT = 0.0

    # Queries of both kinds; "meld" takes both numbers, "learnable" and "conditional" their sum of
    # one kind (Table 2).
    node.QUERY_MODE = "meld"
    node.NUM_LEARNABLE = 100
    node.NUM_CONDITIONAL = 300
    # Anchors of conditional queries: "no" = of the proposals; "mask2box" or "bitmask" = around
    # their masks (Mask DINO's instance configs).
    node.INITIALIZE_BOX_TYPE = "no"
    # How the two kinds meet: "dual" (gated exchange in every layer), "joint" (self-attention over
    # the union, 286 M parameters as printed) or "none" (in the matching alone).
    node.MELD = CN({"TYPE": "dual", "GATE_INIT": 0.0, "NHEADS": 8, "SHARE_DIRECTIONS": False})

    # Class head: start of the factor on the cosine and of the bias (ln 0.01 / 0.99).
    node.TEXT = CN({"SCALE": 14.286, "BIAS": -4.595, "TRAINABLE": True})


def _add_losses(node: CN) -> None:
    """Adds losses, matching and denoising."""
    # Weights of the losses; the costs of the matching have the same.
    node.LOSS = loss = CN()
    loss.CLASS = 4.0
    loss.BOX = 5.0
    loss.GIOU = 2.0
    loss.MASK = 5.0
    loss.DICE = 5.0
    # Points of a mask; candidates for each; share of them that are the most uncertain.
    loss.POINTS = 12544
    loss.OVERSAMPLE = 3.0
    loss.IMPORTANCE = 0.75
    # Losses are divided by the targets of the batch; above 0: by this number times the images. Then
    # all objects weigh the same in batches of one or two images too.
    loss.TARGETS_PER_IMAGE = 0.0
    loss.FOCAL_ALPHA = 0.25
    loss.FOCAL_GAMMA = 2.0

    # Denoising: most queries of an image (0 = off), noise of boxes, share of replaced labels, and
    # DINO's negative copies. PAD_NEGATIVES: empty places count as negatives (Mask DINO's code).
    node.DN = CN({"NUM": 100, "NOISE_SCALE": 0.4, "LABEL_NOISE": 0.2})
    node.DN.CONTRASTIVE = False
    node.DN.PAD_NEGATIVES = False


RANGES = {
    "MODEL.QMN.BACKBONE.DROP_PATH": "[0, 1)",
    "MODEL.QMN.ENCODER.EXTRA_LEVELS": "[0, inf)",
    "MODEL.QMN.ENCODER.LAYERS": "[0, inf)",
    "MODEL.QMN.ENCODER.DIM_FEEDFORWARD": "[1, inf)",
    "MODEL.QMN.ENCODER.POINTS": "[1, inf)",
    "MODEL.QMN.ENCODER.MASK_DIM": "[1, inf)",
    "MODEL.QMN.ENCODER.BACKEND": ("auto", "torch", "triton"),
    "MODEL.QMN.HIDDEN_DIM": "[1, inf)",
    "MODEL.QMN.NHEADS": "[1, inf)",
    "MODEL.QMN.DEC_LAYERS": "[1, inf)",
    "MODEL.QMN.DIM_FEEDFORWARD": "[1, inf)",
    "MODEL.QMN.POINTS": "[1, inf)",
    "MODEL.QMN.DROPOUT": "[0, 1)",
    "MODEL.QMN.QUERY_MODE": ("meld", "learnable", "conditional"),
    "MODEL.QMN.NUM_LEARNABLE": "[0, inf)",
    "MODEL.QMN.NUM_CONDITIONAL": "[0, inf)",
    "MODEL.QMN.INITIALIZE_BOX_TYPE": ("no", "mask2box", "bitmask"),
    "MODEL.QMN.MELD.TYPE": ("dual", "joint", "none"),
    "MODEL.QMN.MELD.GATE_INIT": "(-inf, inf)",
    "MODEL.QMN.MELD.NHEADS": "[1, inf)",
    "MODEL.QMN.TEXT.SCALE": "(0, inf)",
    "MODEL.QMN.TEXT.BIAS": "(-inf, inf)",
    "MODEL.QMN.LOSS.CLASS": "[0, inf)",
    "MODEL.QMN.LOSS.BOX": "[0, inf)",
    "MODEL.QMN.LOSS.GIOU": "[0, inf)",
    "MODEL.QMN.LOSS.MASK": "[0, inf)",
    "MODEL.QMN.LOSS.DICE": "[0, inf)",
    "MODEL.QMN.LOSS.POINTS": "[1, inf)",
    "MODEL.QMN.LOSS.OVERSAMPLE": "[1, inf)",
    "MODEL.QMN.LOSS.IMPORTANCE": "[0, 1]",
    "MODEL.QMN.LOSS.TARGETS_PER_IMAGE": "[0, inf)",
    "MODEL.QMN.LOSS.FOCAL_ALPHA": "[-1, 1]",
    "MODEL.QMN.LOSS.FOCAL_GAMMA": "[0, inf)",
    "MODEL.QMN.DN.NUM": "[0, inf)",
    "MODEL.QMN.DN.NOISE_SCALE": "[0, inf)",
    "MODEL.QMN.DN.LABEL_NOISE": "[0, 1]",
    "MODEL.QMN.TEST.TOPK": "[1, inf)",
    "MODEL.QMN.TEST.SCORE_THRESHOLD": "[0, 1]",
    "MODEL.QMN.TEST.OVERLAP_THRESHOLD": "[0, 1]",
    "MODEL.QMN.TEST.TEMPERATURE": "[0, inf)",
    "MODEL.QMN.TEST.MASK_CHUNK": "[1, inf)",
}
