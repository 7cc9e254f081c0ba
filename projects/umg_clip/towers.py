"""build_tower: the image tower of a CLIP behind one seam, whatever kind it is.

A tower has dense(images) -> `DenseOutput`, encode(images) -> embeddings of cells and of images,
project(vectors), `size_divisibility` (its stride), `width` (C), `ends`, and `is_projection_new`:
whether nothing has brought it into the space of the texts yet.

B images, C width of the features, D width of the space shared with texts, (h, w) the grid.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple, Union

import timm
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from segplugins.clip import ClipTowers
from segplugins.files.tensors import copy_tensors, read_state_dict
from segplugins.modeling.dense_convnext import STAGES, DenseConvNeXt
from segplugins.modeling.timm_backbone import TimmBackbone

from .convpass import ConvpassOptions
from .map_tower import MapTower
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
    is_projection_new = False
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


Tower = Union[VitTower, ConvNextTower, MapTower]


def build_tower(towers: ClipTowers, options: TowerOptions) -> Tower:
    """Returns the image tower of a CLIP; what is not trained is frozen.

    Raises:
        ValueError: an unknown kind of tower, or options of a ViT for another tower.
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
        mapped = isinstance(trunk, TimmBackbone)
        tower = MapTower(trunk, visual.head) if mapped else ConvNextTower(visual)
        if options != TowerOptions(trained=options.trained):
            raise ValueError(
                f"the image tower of '{towers.name}' is no ViT and has no tokens: leave "
                "MODEL.UMG_CLIP.PET, CLUSTER and TOWER.LAST_ATTENTION at their defaults, or choose "
                "a ViT as MODEL.CLIP.NAME or MODEL.UMG_CLIP.TOWER.NAME"
            )
    tower.is_projection_new = getattr(visual, "is_projection_new", False)
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
        name: of the model in timm: a ViT, a ConvNeXt, or any that offers feature maps.
        weights: "" = random; or a local file of timm's names; of a model that is neither ViT nor
            ConvNeXt also what `TimmBackbone` takes, as "package".

    Raises:
        ValueError: timm has no such model, it offers no maps, or the weights do not fit.
        FileNotFoundError: there is no such file.
    """
    if name not in timm.list_models():
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3)
        raise ValueError(f"timm has no model '{name}'; nearest are {nearest}")
    visual = nn.Module()
    visual.is_projection_new = True
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    mean, std = tuple(config.mean), tuple(config.std)
    trunk = timm.create_model(name, pretrained=False, num_classes=towers.embed_dim)
    if isinstance(trunk, (Eva, VisionTransformer)):
        visual.trunk, visual.head = trunk, nn.Identity()
    elif isinstance(trunk, ConvNeXt):
        trunk.reset_classifier(0)
        visual.trunk, visual.head = trunk, nn.Linear(trunk.num_features, towers.embed_dim)
    else:
        visual.trunk = TimmBackbone(name, weights=weights)
        mean, std = (
            tuple(value / 255 for value in values)
            for values in (visual.trunk.pixel_mean, visual.trunk.pixel_std)
        )
        channels = visual.trunk.output_shape()[STAGES[-1]].channels
        visual.head = nn.Linear(channels, towers.embed_dim)
    if weights and not isinstance(visual.trunk, TimmBackbone):
        _load_timm(visual.trunk, name, weights)
    return dataclasses.replace(
        towers,
        name=f"{towers.name} with timm/{name}",
        visual=visual.eval(),
        image_size=tuple(config.input_size[1:]),
        image_mean=mean,
        image_std=std,
    )


def _load_timm(trunk: nn.Module, name: str, weights: str) -> None:
    """Copies a file of timm's names into a ViT or ConvNeXt, all but its classifier."""
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f"no weights file '{weights}' (MODEL.UMG_CLIP.TOWER.WEIGHTS); name one of timm's "
            f"'{name}', or leave it empty for random weights"
        )
    wanted, classifier = trunk.state_dict(), ("head.fc.", "head.weight", "head.bias")
    own = [key for key in wanted if key.startswith(classifier)]
    tensors = {k: v for k, v in read_state_dict(weights).items() if not k.startswith(classifier)}
    copy_tensors(tensors, wanted, source=weights, target=f"timm's '{name}'", new=own)
