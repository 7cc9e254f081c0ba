"""UMG-CLIP: a CLIP trained on images, regions and tags (ECCV 2024); README.md says what stands."""

from . import optim  # noqa: F401  names that SOLVER.OPTIMIZER and LR_SCHEDULER_NAME can ask for
from .clip_pretraining import ClipPretraining, clip_state_dict
from .clip_segmentor import ClipSegmentor
from .config import add_config

__all__ = ["ClipPretraining", "ClipSegmentor", "add_config", "clip_state_dict"]
