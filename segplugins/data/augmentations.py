"""Augmentations from a config, and those that detectron2 lacks.

Inside the augmentations, pixels of a label map that carry no class are IGNORED (-1), whatever
number the data set uses for them: a crop or a pad then needs no knowledge of the data set.
"""

from typing import List, Optional, Sequence, Tuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from fvcore.transforms.transform import (
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
)
from PIL import Image

from segplugins.data.rand_augment import RandAugment
from segplugins.structures.regions import Task

IGNORED = -1
# Between black and white, so that the border is no edge that a network could take for an object.
_PAD_VALUE = 128


class _AtLeastOnePixel:
    """A resize of detectron2 that leaves every side a pixel: a picture of 1 x 30,000 has a row."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the resizing of an image (H, W, 3)."""
        transform = super().get_transform(image)
        if isinstance(transform, T.ResizeTransform):
            transform.new_h, transform.new_w = max(1, transform.new_h), max(1, transform.new_w)
        return transform


class ShortestEdge(_AtLeastOnePixel, T.ResizeShortestEdge):
    """Scales an image so that its shortest edge has a given length."""


class RandomScale(_AtLeastOnePixel, T.ResizeScale):
    """Scales an image by a random factor of what fits a square."""


class PadToSquare(T.Augmentation):
    """Pads an image at the right and at the bottom to a square; one that is larger stays.

    Args:
        size: side in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"the size to pad to must be at least 1 pixel, got {size}")
        self.size = size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the padding of an image (H, W, 3)."""
        height, width = image.shape[:2]
        right, bottom = max(self.size - width, 0), max(self.size - height, 0)
        if right == 0 and bottom == 0:
            return NoOpTransform()
        return PadTransform(
            0, 0, right, bottom, width, height, pad_value=_PAD_VALUE, seg_pad_value=IGNORED
        )


class ColorJitterSSD(T.Augmentation):
    """Brightness +-32, contrast and saturation 0.5-1.5, hue +-18, as SSD does; RGB."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns detectron2's transform, which draws its values when it is applied."""
        # Its package imports cv2: only where it is asked for.
        from detectron2.projects.point_rend import ColorAugSSDTransform

        return ColorAugSSDTransform(img_format="RGB")


class CategoryCrop(T.RandomCrop_CategoryAreaConstraint):
    """detectron2's crop in which no class covers more than its share; the ignored label is given.

    Args:
        crop_type, crop_size: as for detectron2's RandomCrop.
        single_category_max_area: share of a crop; 1.0 = any.
    """

    def __init__(
        self, crop_type: str, crop_size: Sequence[float], single_category_max_area: float
    ) -> None:
        super().__init__(crop_type, crop_size, single_category_max_area, IGNORED)

    def get_transform(self, image: np.ndarray, sem_seg: Optional[np.ndarray]) -> Transform:
        """Returns the crop of an image (H, W, 3) with its label map (H, W).

        Raises:
            ValueError: there is no label map to look at.
        """
        if sem_seg is None and self.single_category_max_area < 1.0:
            raise ValueError(
                "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA below 1.0 needs label maps, and this image "
                "has regions only; set it to 1.0 for such sets (INPUT.BY_TASK sets it per task)"
            )
        return super().get_transform(image, sem_seg)


class ColourPadTransform(PadTransform):
    """Padding in a colour of three channels; label maps get IGNORED.

    Args:
        x0, y0, x1, y1: pixels added at the left, top, right and bottom.
        width, height: of the image that is padded.
        colour: (R, G, B), 0-255.
    """

    def __init__(
        self, x0: int, y0: int, x1: int, y1: int, width: int, height: int, colour: Sequence[int]
    ) -> None:
        super().__init__(x0, y0, x1, y1, width, height, seg_pad_value=IGNORED)
        self.colour = tuple(colour)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Pads an image (H, W, 3)."""
        height, width = img.shape[:2]
        padded = np.empty((height + self.y0 + self.y1, width + self.x0 + self.x1, 3), img.dtype)
        padded[:] = self.colour
        padded[self.y0 : self.y0 + height, self.x0 : self.x0 + width] = img
        return padded


class CentredResizeTransform(T.ResizeTransform):
    """Resizes label maps by the pixel under the centre of each new one, as polygons are.

    detectron2 (through torch) takes the pixel under its corner: half a pixel up and left of where
    the image and its polygons are. Recipes that were made with it keep it; ours for whole images
    in a square do not.
    """

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resizes a map (H, W) of any type."""
        rows = ((np.arange(self.new_h) + 0.5) * self.h / self.new_h).astype(np.int64)
        columns = ((np.arange(self.new_w) + 0.5) * self.w / self.new_w).astype(np.int64)
        return segmentation[rows][:, columns]


class Stretch(T.Augmentation):
    """Resizes an image to a square, whatever its shape.

    Args:
        size: side in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the resizing (bilinear) of an image (H, W, 3)."""
        return CentredResizeTransform(*image.shape[:2], self.size, self.size)


class CentreCrop(T.Augmentation):
    """Cuts the middle out of an image; a side that is shorter stays whole.

    Args:
        size: side in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the cut of an image (H, W, 3)."""
        height, width = image.shape[:2]
        tall, wide = min(self.size, height), min(self.size, width)
        left, top = round((width - wide) / 2), round((height - tall) / 2)
        return T.CropTransform(left, top, wide, tall, width, height)


class RandomArea(T.Augmentation):
    """Cuts out a random share of the area, of a random shape, and resizes it to a square.

    It is torchvision's and timm's RandomResizedCrop.

    Args:
        size: side in pixels.
        area: least and largest share of the image's area.
        ratio: least and largest width divided by height.
    """

    def __init__(
        self, size: int, area: Sequence[float], ratio: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        super().__init__()
        self.size, self.area, self.ratio = size, tuple(area), tuple(ratio)

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns the cut and the resizing (bilinear) of an image (H, W, 3)."""
        height, width = image.shape[:2]
        x0, y0, wide, high = self._window(height, width)
        cut = T.CropTransform(x0, y0, wide, high, width, height)
        return T.TransformList([cut, CentredResizeTransform(high, wide, self.size, self.size)])

    def _window(self, height: int, width: int) -> Tuple[int, int, int, int]:
        """Returns left, top, width and height; the middle where ten draws do not fit."""
        for _ in range(10):
            area = height * width * np.random.uniform(*self.area)
            ratio = np.exp(np.random.uniform(*np.log(self.ratio)))
            wide, high = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if 0 < wide <= width and 0 < high <= height:
                left = np.random.randint(width - wide + 1)
                return left, np.random.randint(height - high + 1), wide, high
        wide = max(1, min(width, round(height * self.ratio[1])))
        high = max(1, min(height, round(width / self.ratio[0])))
        return (width - wide) // 2, (height - high) // 2, wide, high


class LetterBox(T.Augmentation):
    """Fits an image into the middle of a square, its shape kept, borders in one colour.

    Args:
        size: side in pixels.
        colour: (R, G, B) of the borders, 0-255: the mean that the model subtracts.
    """

    def __init__(self, size: int, colour: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.colour = tuple(round(value) for value in colour)

    def get_transform(self, image: np.ndarray) -> Transform:
        """Returns resizing (bicubic) and padding of an image (H, W, 3)."""
        height, width = image.shape[:2]
        scale = min(self.size / height, self.size / width)
        new = [max(1, round(side * scale)) for side in (height, width)]
        top, left = (self.size - new[0]) // 2, (self.size - new[1]) // 2
        resize = CentredResizeTransform(height, width, *new, Image.BICUBIC)
        bottom, right = self.size - new[0] - top, self.size - new[1] - left
        pad = ColourPadTransform(left, top, right, bottom, new[1], new[0], self.colour)
        return T.TransformList([resize, pad])


def _large_scale_jitter(size: int, scale: Sequence[float]) -> List[T.Augmentation]:
    """Scales so that the image fits a square of a random side, then cuts or pads it to `size`."""
    crop = T.FixedSizeCrop((size, size), pad_value=_PAD_VALUE, seg_pad_value=IGNORED)
    return [RandomScale(*scale, size, size), crop]


def is_mirrored(transforms: T.TransformList) -> bool:
    """Returns whether left and right of an image are exchanged."""
    return sum(isinstance(t, HFlipTransform) for t in transforms.transforms) % 2 == 1


RESIZES = ("shortest_edge", "jitter", "letterbox", "stretch", "random_area")


def build_augmentations(
    cfg: CfgNode, is_train: bool, task: Optional[Task] = None
) -> List[T.Augmentation]:
    """Returns what the config asks for, in this order: resize, crop, colour, flip,
    RandAugment, pad.

    Args:
        cfg: its INPUT node, and MODEL.PIXEL_MEAN for the borders of a letter-box.
        is_train: at test an image is only resized; jitter is for training, at test the shortest
            edge counts. An image to classify is resized and cut by INPUT.CENTRE_CROP.
        task: of the records, where INPUT.BY_TASK tells tasks apart.

    Raises:
        ValueError: an unknown INPUT.RESIZE, or a task or key of INPUT.BY_TASK.
    """
    mean = cfg.MODEL.PIXEL_MEAN
    cfg = _of_task(cfg, task)
    edge, *flip = detection_utils.build_augmentation(cfg, is_train)
    sample_style = "range" if edge.is_range else "choice"
    shortest_edge = ShortestEdge(edge.short_edge_length, edge.max_size, sample_style)
    resize = _resize(cfg, shortest_edge, is_train, mean)
    node = cfg.INPUT
    if not is_train and task == Task.CLASSIFICATION:
        short, size = node.CENTRE_CROP
        return [T.ResizeShortestEdge(short, max_size=10**6), CentreCrop(size)]
    if not is_train:
        return resize
    augmentations = list(resize)
    if node.CROP.ENABLED:
        crop = node.CROP
        augmentations.append(CategoryCrop(crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA))
    if node.COLOR_AUG_SSD:
        augmentations.append(ColorJitterSSD())
    augmentations.extend(flip)
    if node.RAND_AUGMENT:
        size = min(node.MIN_SIZE_TRAIN) if node.RESIZE == "shortest_edge" else node.SIZE
        augmentations.append(RandAugment(node.RAND_AUGMENT, size, mean))
    if node.PAD_TO:
        augmentations.append(PadToSquare(node.PAD_TO))
    return augmentations


def _resize(
    cfg: CfgNode, shortest_edge: T.Augmentation, is_train: bool, mean: Sequence[float]
) -> List[T.Augmentation]:
    node = cfg.INPUT
    if node.RESIZE not in RESIZES:
        raise ValueError(f"INPUT.RESIZE is '{node.RESIZE}', expected one of {RESIZES}")
    if node.RESIZE == "letterbox":
        return [LetterBox(node.SIZE, mean)]
    if node.RESIZE == "stretch":
        return [Stretch(node.SIZE)]
    if node.RESIZE == "jitter" and is_train:
        return _large_scale_jitter(node.SIZE, node.JITTER)
    if node.RESIZE == "random_area" and is_train:
        return [RandomArea(node.SIZE, node.AREA)]
    return [shortest_edge]


def tasks_apart(cfg: CfgNode) -> List[Task]:
    """Returns the tasks that INPUT.BY_TASK treats differently.

    Raises:
        ValueError: an entry is not (task, key, value), or names no task.
    """
    tasks = []
    for entry in cfg.INPUT.BY_TASK:
        if len(entry) != 3 or entry[0] not in list(Task):
            raise ValueError(
                f"INPUT.BY_TASK holds {list(entry)}, expected [task, key of INPUT, value] with a "
                f"task of {[str(task) for task in Task]}"
            )
        tasks.append(Task(entry[0]))
    return list(dict.fromkeys(tasks))


def _of_task(cfg: CfgNode, task: Optional[Task]) -> CfgNode:
    """A config that holds the INPUT of this task and nothing else."""
    node = cfg.INPUT.clone()
    node.defrost()
    for of, key, value in cfg.INPUT.BY_TASK:
        if task is not None and of == task:
            try:
                node.merge_from_list([key, value])
            except (AssertionError, KeyError, ValueError) as error:
                raise ValueError(f"INPUT.BY_TASK [{of}, {key}, {value}]: {error}") from error
    return CfgNode({"INPUT": node})
