"""build_tower: the image tower of a CLIP behind one seam, whatever kind it is.

A tower has dense(images) -> `DenseOutput`, encode(images) -> embeddings of cells and of images,
project(vectors), `size_divisibility` (its stride), `width` (C) and `ends`.

B images, C width of the features, D width of the space shared with texts, (h, w) the grid.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple, Union

import timm
from torch import Tensor, nn

from segplugins.clip import ClipTowers
from segplugins.files.tensors import copy_tensors, read_state_dict
from segplugins.modeling.dense_convnext import STAGES, DenseConvNeXt

from .convpass import ConvpassOptions
from .token_cluster import ClusterOptions
from .vit_tower import ClipVit, DenseOutput, TimmVit, VitTower

TRAINED = ("all", "adapters", "none")


@dataclass(frozen=True)
class TowerOptions:
    """How an image tower is built.

    Args:
        trained: "all" of it, its "adapters" alone, or "none".
        adapters: of a ViT; needed where they alone are trained. None = none.
        clustering: of a ViT, in training. None = never.
        last_attention: of a ViT, see `VitTower`.
        checkpoint: of a ViT, see `VitTower`.

    Raises:
        ValueError: a value outside the above.
    """

    trained: str = "all"
    adapters: Optional[ConvpassOptions] = None
    clustering: Optional[ClusterOptions] = None
    last_attention: str = "keep"
    checkpoint: bool = False

    def __post_init__(self) -> None:
        if self.trained not in TRAINED:
            raise ValueError(f"trained must be one of {TRAINED}, got '{self.trained}'")
        if self.trained == "adapters" and self.adapters is None:
            raise ValueError(
                "MODEL.UMG_CLIP.TOWER.TRAINED is 'adapters', but there are none; set "
                "MODEL.UMG_CLIP.PET.WIDTH above 0"
            )
        if self.trained == "none" and self.adapters is not None:
            raise ValueError(
                "MODEL.UMG_CLIP.TOWER.TRAINED is 'none', but MODEL.UMG_CLIP.PET.WIDTH asks for "
                "adapters, which would never learn; set it to 0, or TRAINED to 'adapters'"
            )


class ConvNextTower(DenseConvNeXt):
    """A CLIP ConvNeXt with the seam of the ViTs."""

    adapters = None
    ends = ("trunk.norm_pre.", "trunk.head.", "head.")

    def sharded_units(self) -> List[nn.Module]:
        """Returns the blocks, whose weights a sharded model gathers one block at a time."""
        return [block for stage in self.trunk.stages for block in stage.blocks]

    @property
    def width(self) -> int:
        """C, of the last stage."""
        return self.output_shape()[STAGES[-1]].channels

    def dense(self, images: Tensor, *, adapted: bool = True) -> DenseOutput:
        """Returns the maps of the four stages, and the last one as the head's norm takes it."""
        _, maps = self(images)
        return DenseOutput(maps, self.trunk.norm_pre(maps[STAGES[-1]]))

    def encode(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        """Returns (B, D, h, w) and (B, D), not normalised: of every cell, and of whole images."""
        cells, maps = self(images)
        return cells, self.pooled(maps)

    def project(self, vectors: Tensor) -> Tensor:
        """Returns (..., D), not normalised, of pooled vectors (..., C)."""
        flat = vectors.reshape(-1, vectors.shape[-1])
        normed = self.trunk.head.norm(flat[..., None, None])[..., 0, 0]
        return self.head(normed).reshape(*vectors.shape[:-1], -1)


Tower = Union[VitTower, ConvNextTower]


def build_tower(towers: ClipTowers, options: TowerOptions) -> Tower:
    """Returns the image tower of a CLIP; what is not trained is frozen.

    Raises:
        ValueError: an unknown kind of tower, or a ConvNeXt with options of a ViT.
    """
    visual = towers.visual
    trunk = getattr(visual, "trunk", None)
    vit = {
        "last_attention": options.last_attention,
        "adapters": options.adapters,
        "clustering": options.clustering,
        "checkpoint": options.checkpoint,
    }
    if trunk is None and hasattr(visual, "conv1") and hasattr(visual, "class_embedding"):
        tower: Tower = ClipVit(visual, **vit)
    elif hasattr(trunk, "blocks") and not hasattr(trunk, "stages"):
        tower = TimmVit(trunk, visual.head, **vit)
    else:
        tower = ConvNextTower(visual)
        if options != TowerOptions(trained=options.trained):
            raise ValueError(
                f"the image tower of '{towers.name}' is a ConvNeXt, which has no tokens: leave "
                "MODEL.UMG_CLIP.PET, CLUSTER and TOWER.LAST_ATTENTION at their defaults, or choose "
                "a ViT as MODEL.CLIP.NAME"
            )
    freeze_tower(tower, options.trained)
    return tower


def freeze_tower(tower: Tower, trained: str) -> None:
    """Takes what is not trained out of training; see `TowerOptions`."""
    if trained != "all":
        for name, parameter in tower.named_parameters():
            adapter = trained == "adapters" and name.startswith("adapters.")
            parameter.requires_grad_(adapter)
    elif isinstance(tower, VitTower) and tower.value_only:
        # No loss reaches queries and keys of a block that mixes no tokens.
        for name, parameter in tower.blocks()[-1].named_parameters():
            if name.startswith(("attn.q_", "attn.k_")):
                parameter.requires_grad_(False)


def keep_frozen_in_evaluation(tower: Tower) -> None:
    """Puts what is frozen of a tower in training mode back into evaluation mode.

    Dropout and stochastic depth belong to weights that learn.
    """
    if any(p.requires_grad for n, p in tower.named_parameters() if not n.startswith("adapters.")):
        return
    mode = tower.training
    tower.eval()
    if tower.adapters is not None:
        tower.adapters.train(mode)


def with_timm_tower(towers: ClipTowers, name: str, weights: str) -> ClipTowers:
    """Returns the CLIP with a model of timm as its image tower, which ends in a new projection.

    Args:
        towers: whose text tower and tokenizer stay.
        name: of the model in timm.
        weights: "" = random; or a local file of timm's names.

    Raises:
        ValueError: timm has no such model, or the weights do not fit.
        FileNotFoundError: there is no such file.
    """
    if name not in timm.list_models():
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3)
        raise ValueError(f"timm has no model '{name}'; nearest are {nearest}")
    trunk = timm.create_model(name, pretrained=False, num_classes=towers.embed_dim)
    if weights:
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"no weights file '{weights}' (MODEL.UMG_CLIP.TOWER.WEIGHTS); name one of timm's "
                f"'{name}', or leave it empty for random weights"
            )
        wanted = trunk.state_dict()
        own = [key for key in wanted if key.startswith("head.")]
        tensors = {k: v for k, v in read_state_dict(weights).items() if k not in own}
        copy_tensors(tensors, wanted, source=weights, target=f"timm's '{name}'", new=own)
    visual = nn.Module()
    visual.trunk, visual.head = trunk, nn.Identity()
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    return dataclasses.replace(
        towers,
        name=f"{towers.name} with timm/{name}",
        visual=visual.eval(),
        image_size=tuple(config.input_size[1:]),
        image_mean=tuple(config.mean),
        image_std=tuple(config.std),
    )
