"""Config node of SED. Each key is read once, in `SED.from_config`.

The image encoder, its weights and the prompt templates are MODEL.CLIP.*; what is frozen and the
encoder's learning rate are MODEL.FREEZE and SOLVER.LR_MULTIPLIERS.
"""

from detectron2.config import CfgNode as CN


def add_config(cfg: CN) -> None:
    """Adds MODEL.SED with the paper's main setting (SED-B).

    Args:
        cfg: changed in place.
    """
    cfg.MODEL.SED = node = CN()
    # Height and width that every image is resized to, whatever its aspect: multiples of the
    # encoder's stride (32; 16 for convnext_drawn). Smaller is faster: the "SED-fast" of Table 2.
    node.RESOLUTION = [768, 768]
    # In training: dropout of the image head and stochastic depth of the trunk. SED-L: 0.1 and 0.1.
    node.DROP = 0.0
    node.DROP_PATH = 0.0
    # Loss weights: final logits, then the three rejection heads in order. 0 = not trained.
    node.LOSS_WEIGHTS = [1.0, 1.0, 1.0, 1.0]
    # Pixels without a label: "negative" = they are none of the classes, as in the official code;
    # "mask" = they do not count.
    node.IGNORED_PIXELS = "negative"
    # Most classes of a training step: those that its images show, then random ones. The cost
    # of a step grows with its classes. 0 = all, as in the paper.
    node.TRAIN_CLASSES = 0
    # Train only the rejection heads of a trained model.
    node.REJECTION_HEADS_ONLY = False

    node.DECODER = decoder = CN()
    # Channels per class: of the cost embedding, then after each of the three stages (those are
    # multiples of 16).
    decoder.WIDTHS = [128, 64, 32, 16]
    # What skip features and cost map are reduced to in each stage.
    decoder.SKIP_WIDTHS = [32, 16, 8]
    # False: stages upsample and read the cost map alone (the ablation of the fusion module).
    decoder.SKIP_FEATURES = True
    # Sides of the depthwise kernels, odd (Table 6a: 7, 9, 11).
    decoder.KERNEL_SIZES = [9, 9, 9]
    # Heads of the class attention; they divide the widths.
    decoder.HEADS = 4
    # Class attention: "linear", or "full" (softmax), whose memory grows with the vocabulary.
    decoder.ATTENTION = "linear"
    # Average pooling (height, width) before the class attention, in training and at test. No
    # weight depends on it; the official evaluation pools less than the training.
    decoder.POOLING = [2, 2]
    decoder.TEST_POOLING = [1, 1]

    # At test. Early rejection keeps the TOP_K best classes of each pixel before every stage
    # (Table 7: 1, 2, 4, 8); K or more classes = all.
    node.REJECTION = CN({"ENABLED": True, "TOP_K": 8})
    # Most classes whose features exist at a time: bounds memory, not the result. 0 = no bound.
    node.CLASS_CHUNK = 256
    # Windows of RESOLUTION over larger images instead of one look at the whole, averaged.
    # OVERLAP: share of a window that the next one sees again.
    node.SLIDING = CN({"ENABLED": False, "OVERLAP": 1 / 3})


RANGES = {
    "MODEL.SED.RESOLUTION": "2 x int [1, inf)",
    "MODEL.SED.DROP": "[0, 1)",
    "MODEL.SED.DROP_PATH": "[0, 1)",
    "MODEL.SED.LOSS_WEIGHTS": "4 x [0, inf)",
    "MODEL.SED.IGNORED_PIXELS": ("negative", "mask"),
    "MODEL.SED.TRAIN_CLASSES": "[0, inf)",
    "MODEL.SED.DECODER.WIDTHS": "4 x int [1, inf)",
    "MODEL.SED.DECODER.SKIP_WIDTHS": "3 x int [1, inf)",
    "MODEL.SED.DECODER.KERNEL_SIZES": "3 x int [1, inf)",
    "MODEL.SED.DECODER.HEADS": "[1, inf)",
    "MODEL.SED.DECODER.ATTENTION": ("linear", "full"),
    "MODEL.SED.DECODER.POOLING": "2 x int [1, inf)",
    "MODEL.SED.DECODER.TEST_POOLING": "2 x int [1, inf)",
    "MODEL.SED.REJECTION.TOP_K": "[1, inf)",
    "MODEL.SED.CLASS_CHUNK": "[0, inf)",
    "MODEL.SED.SLIDING.OVERLAP": "[0, 1)",
}
