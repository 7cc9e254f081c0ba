"""Config node of UniLSeg. Each key is read once, in `UniLSeg.from_config`.

The text encoder and its weights are MODEL.CLIP.*; what is frozen and the encoders' learning rates
are MODEL.FREEZE and SOLVER.LR_MULTIPLIERS; how images are brought to size and hidden in part is
INPUT.RESIZE, INPUT.SIZE and INPUT.HIDE.
"""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.UNILSEG with the paper's setting (Swin-B, CLIP ViT-B/16).

    Args:
        cfg: changed in place.
    """
    cfg.MODEL.UNILSEG = node = CN()
    _add_model(node)
    _add_training(node)

    node.TEST = test = CN()
    # Probabilities above it belong to a mask. The paper: 0.5; the official code: 0.35.
    test.THRESHOLD = 0.5
    # Phrases computed at a time: bounds memory, not the result. At 480 pixels one takes
    # about 0.4 GB in float32.
    test.PROMPT_CHUNK = 8
    # "paper": logits bilinearly to the image; "official": probabilities bicubically to it.
    test.RESIZE = "paper"


def _add_model(node: CN) -> None:
    # "swin", as SWIN describes it; "clip": the image tower of MODEL.CLIP, a ConvNeXt, with its
    # weights; or "timm/<name>": any model of timm that offers feature maps, with the pixel
    # statistics that timm knows for it. WEIGHTS are of a timm model: "" = random; a local file;
    # "package": of an installed package.
    node.BACKBONE = CN({"NAME": "swin", "WEIGHTS": ""})
    node.SWIN = swin = CN()
    swin.EMBED_DIM = 128
    swin.DEPTHS = [2, 2, 18, 2]
    swin.NUM_HEADS = [4, 8, 16, 32]
    swin.WINDOW_SIZE = 7
    # Pixels per side of the finest cells, at which the mask is predicted.
    swin.PATCH_SIZE = 4
    swin.DROP_PATH = 0.2
    # A local file of Microsoft's, timm's or torchvision's weights. "" = random.
    swin.WEIGHTS = ""

    # Tokens a phrase is laid out for, start and end included; longer ones lose their end. The same
    # in training and at test: positions depend on it.
    node.TEXT_LENGTH = 17
    # Channels of the vision path: those of the words, because places and words look at each other.
    node.CONV_DIM = 512
    # Channels of the pixel map and of the query that is multiplied with it.
    node.MASK_DIM = 256
    node.NHEADS = 8
    node.DIM_FEEDFORWARD = 2048
    node.DROPOUT = 0.1
    # Per scale, finest first: how much the grid shrinks before its places look at each other.
    node.SR_RATIOS = [8, 4, 2, 1]
    # Decoder layers of the language path.
    node.DEC_LAYERS = 6
    # Of the convolutions and the query: "BN" and "SyncBN" need two phrases or more per batch, "LN"
    # and "GN" do not.
    node.NORM = "SyncBN"
    # The three parts of Table 8, each of which can be left out.
    node.PREFUSION = True
    node.VISION_PATH = True
    node.LANGUAGE_PATH = True
    # Scales that Pre-Fusion fuses, 0 = finest. The paper names three, the official code fuses all.
    node.PREFUSION_SCALES = [0, 1, 2, 3]

    # Table 1: [[task, template], ...]; "{}" is the class name or the phrase. A template without it
    # is the phrase whatever the data set says: ["salient", "the object that stands out"].
    node.PROMPTS = [
        ["semantic", "all {}"],
        ["part", "all {}"],
        ["instance", "all {}"],
        ["panoptic", "all {}"],
    ]
    # Classes with several names: "first" = ask for the first; "mean" = ask for all, average.
    node.SYNONYMS = "first"


def _add_training(node: CN) -> None:
    # Phrases of one image in a step; its features are shared. The paper: 1.
    node.TEXTS_PER_IMAGE = 1
    # Probability of using a class that the image does not show.
    node.NEGATIVE_PROB = 0.0
    # Factors on binary cross-entropy and dice; the paper gives none. 0 = left out.
    node.BCE_WEIGHT = 1.0
    node.DICE_WEIGHT = 1.0
    # How much small masks are balanced against the rest of their picture in the cross-entropy, 0 to
    # 1; the paper: 0. Small sets leave thin and rare classes empty without it.
    node.BCE_BALANCE = 0.0
    # The response of every decoder layer is trained, not the last one's alone.
    node.DEEP_SUPERVISION = True
    # "response" = targets are resized to the responses; "image" = the reverse.
    node.LOSS_AT = "response"


RANGES = {
    "MODEL.UNILSEG.TEST.THRESHOLD": "[0, 1)",
    "MODEL.UNILSEG.TEST.PROMPT_CHUNK": "[1, inf)",
    "MODEL.UNILSEG.TEST.RESIZE": ("paper", "official"),
    "MODEL.UNILSEG.SWIN.EMBED_DIM": "[1, inf)",
    "MODEL.UNILSEG.SWIN.DEPTHS": "4 x int [1, inf)",
    "MODEL.UNILSEG.SWIN.NUM_HEADS": "4 x int [1, inf)",
    "MODEL.UNILSEG.SWIN.WINDOW_SIZE": "[1, inf)",
    "MODEL.UNILSEG.SWIN.PATCH_SIZE": "[1, inf)",
    "MODEL.UNILSEG.SWIN.DROP_PATH": "[0, 1)",
    "MODEL.UNILSEG.TEXT_LENGTH": "[3, inf)",
    "MODEL.UNILSEG.CONV_DIM": "[1, inf)",
    "MODEL.UNILSEG.MASK_DIM": "[1, inf)",
    "MODEL.UNILSEG.NHEADS": "[1, inf)",
    "MODEL.UNILSEG.DIM_FEEDFORWARD": "[1, inf)",
    "MODEL.UNILSEG.DROPOUT": "[0, 1)",
    "MODEL.UNILSEG.SR_RATIOS": "4 x int [1, inf)",
    "MODEL.UNILSEG.DEC_LAYERS": "[0, inf)",
    "MODEL.UNILSEG.NORM": ("BN", "SyncBN", "LN", "GN"),
    "MODEL.UNILSEG.PREFUSION_SCALES": "int [0, 3]",
    "MODEL.UNILSEG.SYNONYMS": ("first", "mean"),
    "MODEL.UNILSEG.TEXTS_PER_IMAGE": "[1, inf)",
    "MODEL.UNILSEG.NEGATIVE_PROB": "[0, 1]",
    "MODEL.UNILSEG.BCE_WEIGHT": "[0, inf)",
    "MODEL.UNILSEG.DICE_WEIGHT": "[0, inf)",
    "MODEL.UNILSEG.BCE_BALANCE": "[0, 1]",
    "MODEL.UNILSEG.LOSS_AT": ("response", "image"),
}
