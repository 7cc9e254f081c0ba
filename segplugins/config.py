"""Config keys that two or more papers share. Those of one paper stand in its own config.py."""

import torch
from detectron2.config import CfgNode as CN


def add_shared_config(cfg: CN) -> None:
    """Adds the shared keys to detectron2's config, each with its default.

    Args:
        cfg: detectron2's `get_cfg()`, changed in place.
    """
    # What the machine has: a laptop without CUDA runs every config as it stands.
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    # Precision of float32 matrix products: "highest", "high" (TF32 on GPUs that have it, as their
    # convolutions do anyway) or "medium".
    cfg.MATMUL_PRECISION = "high"
    _add_model(cfg)
    _add_input(cfg)
    _add_solver(cfg)
    _add_test(cfg)


def _add_model(cfg: CN) -> None:
    cfg.MODEL.CLIP = clip = CN()
    # Model name of open_clip; or "convnext_drawn" or "eva_drawn", tiny ones of this package.
    clip.NAME = "convnext_drawn"
    # "" = random weights; a tag that open_clip knows for this name; or a local file.
    clip.WEIGHTS = ""
    # Prompt template set: see segplugins/text/templates.py. A vocabulary's own templates win.
    clip.TEMPLATES = "imagenet80"
    # Folder that keeps text embeddings between runs. "" = keep them in memory only.
    clip.CACHE_DIR = ""
    # Prompts that the text tower encodes at once. It bounds memory, results do not depend on it.
    clip.TEXT_BATCH = 256

    # A memory of labelled embeddings (tools/build_memory.py) that votes beside the texts, at test:
    # its FOLDER, the WEIGHT of its votes, in cosines (0 = off), and who votes: the NEIGHBOURS
    # nearest rows, by exp(cosine / TEMPERATURE).
    cfg.MODEL.MEMORY = CN({"FOLDER": "", "WEIGHT": 0.0, "NEIGHBOURS": 16, "TEMPERATURE": 0.05})

    # Prefixes of parameter names that are not trained: ["classifier.text_encoder."].
    cfg.MODEL.FREEZE = []


def _add_input(cfg: CN) -> None:
    # Files that describe data sets of your own: see datasets/README.md.
    cfg.DATASETS.REGISTER = []
    # Data sets whose images no training set may show: those that the model is measured on.
    cfg.DATASETS.EXCLUDE = []
    # Image-text pairs: for each set of DATASETS.TRAIN a folder with a file of JSON lines per shard,
    # which say more about the samples: ["output/cocu/c3/archive/concepts"]. "" = none for this set.
    cfg.DATASETS.SIDECARS = []
    # All models here take RGB, and their statistics are given in that order.
    cfg.INPUT.FORMAT = "RGB"
    # What the model learns from: "sem_seg" (label maps), "instances" (regions), or both.
    cfg.INPUT.TARGETS = ("instances",)
    # A training image is asked for at most this many names: those that it shows, and others drawn
    # at random; label maps and panoptic maps as well as regions. 0 = the whole vocabulary.
    cfg.INPUT.MAX_TEXTS = 0
    # No class may cover more than this share of a crop; drawn again up to ten times. 1.0 = off.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Brightness, contrast, saturation and hue as in SSD.
    cfg.INPUT.COLOR_AUG_SSD = False
    # RandAugment in timm's words, "rand-m9-mstd0.5-inc1", of images with texts alone. "" = none.
    cfg.INPUT.RAND_AUGMENT = ""
    # How images are brought to size: "shortest_edge" (MIN_SIZE_*, MAX_SIZE_*); "jitter" (scaled at
    # random, then cut or padded to a square: large-scale jitter; at test as shortest_edge);
    # "letterbox" (the whole image in the middle of a square), "stretch" (to a square), or
    # "random_area" (a random part, to a square; at test as shortest_edge).
    cfg.INPUT.RESIZE = "shortest_edge"
    # Side of that square in pixels, the range of scales of the jitter, and that of the area of the
    # random part as a share of the image.
    cfg.INPUT.SIZE = 480
    cfg.INPUT.JITTER = (0.1, 2.0)
    cfg.INPUT.AREA = (0.08, 1.0)
    # An image that is classified as a whole: its short side is resized to the first, then a square
    # of the second is cut out of its middle.
    cfg.INPUT.CENTRE_CROP = (256, 224)
    # Keys of INPUT that differ for records of one task: [["referring", "JITTER", [0.1, 1.0]]].
    cfg.INPUT.BY_TASK = []
    # Hide-and-seek: each cell of GRID x GRID is hidden with PROBABILITY (0 = off), in the image
    # and, with TARGET, in its targets; on "pseudo" (drawn by a machine) or "all" images.
    cfg.INPUT.HIDE = CN({"PROBABILITY": 0.0, "GRID": 24, "TARGET": True, "APPLY_TO": "pseudo"})
    # Pad right and bottom to a square of this side in pixels (image with 128, labels with the
    # data set's ignore label). 0 = off.
    cfg.INPUT.PAD_TO = 0
    # Share of each set of DATASETS.TRAIN in the samples, in that order: [3, 1]. [] = every image
    # equally often.
    cfg.DATALOADER.MIXING = []
    # All images of a micro-batch of one process are of one set, and so of one vocabulary.
    cfg.DATALOADER.ONE_SET_PER_BATCH = False
    # A training image or annotation that cannot be used, or would make a wrong target: "strict"
    # stops, "skip" takes another image of the same set and task, counts, and reports at the end
    # (OUTPUT_DIR/faults.jsonl). Evaluation is always strict.
    cfg.DATALOADER.FAULTS = "strict"
    # Neither hold images back nor leave any out: see segplugins/engine/loaders.py.
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False


def _add_solver(cfg: CN) -> None:
    solver = cfg.SOLVER
    # A name in segplugins.engine.optim.OPTIMIZERS.
    solver.OPTIMIZER = "adamw"
    # Decay rates of the running means of gradient and squared gradient, and the epsilon.
    solver.BETAS = (0.9, 0.999)
    solver.EPS = 1e-8
    # [[prefix of parameter names, factor on BASE_LR], ...]. The longest prefix that fits decides.
    solver.LR_MULTIPLIERS = []
    # [[prefix, decay], ...]: below the prefix, layer i of L gets the factor decay^(L + 1 - i).
    solver.LAYER_DECAY = []
    # Weight decay of nn.Embedding; of 1-D parameters (biases, gains, layer scales), None = no
    # rule of their own; and the last parts of names that get none at all: ["logit_scale"].
    solver.WEIGHT_DECAY_EMBED = 0.0
    solver.WEIGHT_DECAY_1D = None
    solver.NO_WEIGHT_DECAY = []
    # IMS_PER_BATCH stays the images per optimizer step; they are read in this many parts, one
    # after the other, so that a recipe for 4 GPUs runs on one with 4.
    solver.ACCUMULATE = 1
    # Steps of a run that may be left out because a loss is not finite; one more ends it. Each is
    # logged with its images.
    solver.MAX_BAD_STEPS = 0
    # Of several processes each holds a copy of the model ("none": DDP), or a part of every weight,
    # gradient and optimizer state ("full": FSDP2), for models that say what is gathered alone
    # (ClipPretraining). Without evaluations and averages. Checkpoints are the same.
    solver.SHARDING = "none"
    # DDP searches for parameters that got no gradient. Only where steps differ in what they use.
    solver.FIND_UNUSED_PARAMETERS = False
    # "bfloat16" (CPU and GPU) or "float16" (GPU, with loss scaling), where AMP.ENABLED.
    solver.AMP.DTYPE = "bfloat16"
    # Exponential moving average of the trained weights: what is evaluated and loaded afterwards.
    solver.EMA = CN({"ENABLED": False})
    solver.EMA.DECAY = 0.999


def _add_test(cfg: CN) -> None:
    # Names "a, b|synonym", a file, or a registered vocabulary that replaces the data set's own.
    cfg.TEST.VOCABULARY = ""
    # Scores below it are the data set's background class, where it has one. None = what the data
    # set says.
    cfg.TEST.BACKGROUND_THRESHOLD = None
    # The model answers with (H, W) label maps instead of (K, H, W) scores: less memory.
    cfg.TEST.LABEL_MAPS = False
    # Images per batch and process.
    cfg.TEST.IMS_PER_BATCH = 1
    # Evaluation under autocast to SOLVER.AMP.DTYPE.
    cfg.TEST.AMP = CN({"ENABLED": False})
    # Metric whose highest value decides which weights stay as model_best.pth, as it is logged:
    # "sem_seg/mIoU"; with several data sets "<data set>/sem_seg/mIoU". "" = keep none.
    cfg.TEST.BEST_METRIC = ""


# Ranges of the shared keys, and of detectron2's that runs of this library read. The notation is
# that of segplugins/engine/ranges.py; papers have such a table in their own config.py.
RANGES = {
    "MATMUL_PRECISION": ("highest", "high", "medium"),
    "SEED": "[-1, 4294967295]",
    "MODEL.CLIP.TEXT_BATCH": "[1, inf)",
    "MODEL.MEMORY.WEIGHT": "[0, inf)",
    "MODEL.MEMORY.NEIGHBOURS": "[1, inf)",
    "MODEL.MEMORY.TEMPERATURE": "(0, inf)",
    "MODEL.PIXEL_STD": "(0, inf)",
    "INPUT.TARGETS": ("sem_seg", "instances"),
    "INPUT.FORMAT": ("RGB",),
    "INPUT.MAX_TEXTS": "[0, inf)",
    "INPUT.MIN_SIZE_TRAIN": "int [1, inf)",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "range"),
    "INPUT.MAX_SIZE_TRAIN": "[1, inf)",
    "INPUT.MIN_SIZE_TEST": "[0, inf)",
    "INPUT.MAX_SIZE_TEST": "[1, inf)",
    "INPUT.RANDOM_FLIP": ("none", "horizontal", "vertical"),
    "INPUT.CROP.SIZE": "2 x (0, inf)",
    "INPUT.CROP.TYPE": ("relative_range", "relative", "absolute", "absolute_range"),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": "(0, 1]",
    "INPUT.RESIZE": ("shortest_edge", "jitter", "letterbox", "stretch", "random_area"),
    "INPUT.SIZE": "[1, inf)",
    "INPUT.JITTER": "2 x (0, inf)",
    "INPUT.AREA": "2 x (0, 1]",
    "INPUT.CENTRE_CROP": "2 x int [1, inf)",
    "INPUT.HIDE.PROBABILITY": "[0, 1]",
    "INPUT.HIDE.GRID": "[1, inf)",
    "INPUT.HIDE.APPLY_TO": ("pseudo", "all"),
    "INPUT.PAD_TO": "[0, inf)",
    "DATALOADER.NUM_WORKERS": "[0, 1024]",
    "DATALOADER.MIXING": "[0, inf)",
    "DATALOADER.FAULTS": ("strict", "skip"),
    "SOLVER.MAX_ITER": "[1, inf)",
    "SOLVER.IMS_PER_BATCH": "[1, inf)",
    "SOLVER.BASE_LR": "(0, inf)",
    "SOLVER.BASE_LR_END": "[0, inf)",
    "SOLVER.STEPS": "int [0, inf)",
    "SOLVER.GAMMA": "(0, inf)",
    "SOLVER.WARMUP_ITERS": "[0, inf)",
    "SOLVER.WARMUP_FACTOR": "[0, 1]",
    "SOLVER.MOMENTUM": "[0, 1)",
    "SOLVER.BETAS": "2 x [0, 1)",
    "SOLVER.EPS": "(0, inf)",
    "SOLVER.LR_MULTIPLIERS": "pairs [0, inf)",
    "SOLVER.LAYER_DECAY": "pairs (0, 1]",
    "SOLVER.BIAS_LR_FACTOR": "[0, inf)",
    "SOLVER.WEIGHT_DECAY": "[0, inf)",
    "SOLVER.WEIGHT_DECAY_BIAS": "[0, inf)",
    "SOLVER.WEIGHT_DECAY_NORM": "[0, inf)",
    "SOLVER.WEIGHT_DECAY_EMBED": "[0, inf)",
    "SOLVER.WEIGHT_DECAY_1D": "[0, inf)",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("full_model", "norm", "value"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": "(0, inf)",
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": "[1, inf]",
    "SOLVER.CHECKPOINT_PERIOD": "[1, inf)",
    "SOLVER.ACCUMULATE": "[1, inf)",
    "SOLVER.MAX_BAD_STEPS": "[0, inf)",
    "SOLVER.SHARDING": ("none", "full"),
    "SOLVER.AMP.DTYPE": ("bfloat16", "float16"),
    "SOLVER.EMA.DECAY": "[0, 1]",
    "TEST.EVAL_PERIOD": "[0, inf)",
    "TEST.IMS_PER_BATCH": "[1, inf)",
    "TEST.BACKGROUND_THRESHOLD": "[0, 1]",
}
