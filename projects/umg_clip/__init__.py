"""UMG-CLIP: a CLIP trained on images, regions and tags (ECCV 2024). Today: its pre-training."""

from .clip_pretraining import ClipPretraining, clip_state_dict
from .config import add_config

__all__ = ["ClipPretraining", "add_config", "clip_state_dict"]
