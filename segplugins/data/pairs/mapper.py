"""PairMapper: an image-text sample to what a model reads, augmented, with texts that stay true."""

import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T

from segplugins.data.augmentations import build_augmentations, is_mirrored
from segplugins.data.catalog import dataset_root
from segplugins.data.exclude import ExcludedImages
from segplugins.data.hide_and_seek import HideAndSeek
from segplugins.data.pairs.decode import Pair, decode_pair
from segplugins.data.pairs.sidecar import SideCars, open_sidecars
from segplugins.data.shards import FaultySample, read_sample
from segplugins.data.texts import mirrored
from segplugins.structures.regions import Region, box_of_mask, encode_mask

logger = logging.getLogger(__name__)


class PairMapper:
    """Reads, augments and packs one image-text sample.

    Gives {"image": (3, H, W) uint8 RGB, "key", "captions": list of texts, "dataset"} and, where the
    source has them, "tags": list of names and "regions": list of Region; with side-cars "sidecar",
    what they say of the sample. Boxes and masks follow the
    image; where it is mirrored, left and right are exchanged in all texts.

    Args:
        augmentations: applied in order.
        image_roots: per data set the folder of the images of its JSON lines; None = that of the
            file.
        hide: hides parts of images last of all.
        excluded: images that may not be trained on.
        sidecars: per data set further facts of its samples.
        captions_only: data sets of which captions alone are read, see `PairSource`.
    """

    def __init__(
        self,
        augmentations: Sequence[T.Augmentation],
        *,
        image_roots: Optional[Mapping[str, Optional[Path]]] = None,
        hide: Optional[HideAndSeek] = None,
        excluded: Optional[ExcludedImages] = None,
        sidecars: Optional[Mapping[str, SideCars]] = None,
        captions_only: Sequence[str] = (),
    ) -> None:
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_roots = dict(image_roots or {})
        self.hide = hide
        self.excluded = excluded
        self.sidecars = dict(sidecars or {})
        self.captions_only = frozenset(captions_only)
        self._left_out = 0

    @classmethod
    def from_config(cls, cfg: CfgNode, names: Sequence[str]) -> "PairMapper":
        """Reads INPUT, DATASETS.EXCLUDE, DATASETS.SIDECARS and MODEL.PIXEL_MEAN.

        Raises:
            ValueError: a key of INPUT that image-text pairs cannot follow.
            FileNotFoundError: a shard without a side-car.
        """
        _check_keys(cfg)
        shards = {}
        if cfg.DATASETS.SIDECARS:
            shards = {name: [r["file_name"] for r in DatasetCatalog.get(name)] for name in names}
        roots = {name: MetadataCatalog.get(name).pairs_image_root for name in names}
        return cls(
            build_augmentations(cfg, is_train=True),
            image_roots={
                name: None if root is None else dataset_root() / root
                for name, root in roots.items()
            },
            hide=HideAndSeek.from_config(cfg),
            excluded=ExcludedImages.of_sets(cfg.DATASETS.EXCLUDE),
            sidecars=open_sidecars(cfg.DATASETS.SIDECARS, shards),
            captions_only=[n for n in names if MetadataCatalog.get(n).captions_only],
        )

    def __call__(self, record: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
        """Returns the record for the model; None where its image may not be trained on.

        Args:
            record: "entry" of the sample and "dataset", the name of its set.

        Raises:
            FaultySample: the sample cannot be used; the message names it.
        """
        entry = record["entry"]
        try:
            sample = read_sample(entry, self.image_roots.get(record["dataset"]))
            if self.excluded is not None and self.excluded.shows(sample.image, sample.data):
                self._report_left_out()
                return None
            alone = record["dataset"] in self.captions_only
            packed = self._packed(decode_pair(sample, entry, captions_only=alone))
            packed["dataset"] = record["dataset"]
            if record["dataset"] in self.sidecars:
                packed["sidecar"] = self.sidecars[record["dataset"]].line(entry, packed["key"])
            return packed
        except FaultySample as fault:
            raise FaultySample(
                f"{fault}; mend it or leave it out (DATALOADER.FAULTS skip)"
            ) from fault
        except ValueError as error:  # a mask that does not fit its image
            raise FaultySample(
                f"{entry}: {error}; mend it or leave it out (DATALOADER.FAULTS skip)"
            ) from error

    def _packed(self, pair: Pair) -> Dict[str, Any]:
        augmented = T.AugInput(pair.image)
        transforms = self.augmentations(augmented)
        true_text = mirrored if is_mirrored(transforms) else str
        record = {
            "image": torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1))),
            "key": pair.key,
            "captions": [true_text(text) for text in pair.captions],
        }
        if pair.tags:
            record["tags"] = [true_text(text) for text in pair.tags]
        if pair.regions:
            regions = moved_regions(pair.regions, transforms, pair.image, augmented.image)
            record["regions"] = [_retold(region, true_text) for region in regions]
        if self.hide is not None:
            source = {"pseudo": pair.pseudo, "regions": pair.regions}
            self.hide(record, source, ignored=255)
        return record

    def _report_left_out(self) -> None:
        self._left_out += 1
        if self._left_out & (self._left_out - 1) == 0:
            logger.info(
                "%d samples of images of DATASETS.EXCLUDE left out so far in this process",
                self._left_out,
            )


def _check_keys(cfg: CfgNode) -> None:
    node = cfg.INPUT
    for key, value, neutral, reason in (
        ("FORMAT", node.FORMAT, "RGB", "all models here take RGB"),
        ("MAX_TEXTS", node.MAX_TEXTS, 0, "an image-text pair has its own texts, no vocabulary"),
        ("BY_TASK", list(node.BY_TASK), [], "an image-text pair has no task"),
        (
            "CROP.SINGLE_CATEGORY_MAX_AREA",
            node.CROP.SINGLE_CATEGORY_MAX_AREA if node.CROP.ENABLED else 1.0,
            1.0,
            "an image-text pair has no label map",
        ),
    ):
        if value != neutral:
            raise ValueError(
                f"INPUT.{key} is {value!r}, but DATASETS.TRAIN holds image-text pairs, for which "
                f"only {neutral!r} is possible: {reason}"
            )


def _retold(region: Region, true_text: Any) -> Region:
    """Returns the region with its texts as they are true of the augmented image."""
    extra = dict(region.extra)
    for key in ("captions", "sentences"):
        if isinstance(extra.get(key), (list, tuple)):
            extra[key] = [true_text(text) for text in extra[key]]
    return Region(**{**vars(region), "text": true_text(region.text), "extra": extra})


def moved_regions(
    regions: Sequence[Region], transforms: T.TransformList, before: np.ndarray, after: np.ndarray
) -> List[Region]:
    """Returns the regions where the augmented image shows them; those outside are left out.

    Args:
        regions: as they stand in the source.
        transforms: what was done to the image.
        before: (H, W, 3), the image that the regions were drawn on.
        after: (h, w, 3), the augmented image.

    Raises:
        ValueError: a mask does not fit its image.
    """
    height, width = after.shape[:2]
    moved = []
    for region in regions:
        box, mask = region.box, region.mask
        if mask is not None:
            bitmap = region.bitmap(*before.shape[:2]).astype(np.uint8)
            bitmap = transforms.apply_segmentation(bitmap) == 1
            mask, box = encode_mask(bitmap), box_of_mask(bitmap)
        elif box is not None:
            corners = transforms.apply_box(np.array([box]))[0].clip(0, [width, height] * 2)
            visible = corners[2] > corners[0] and corners[3] > corners[1]
            box = tuple(map(float, corners)) if visible else None
        if box is not None or not region.has_target:
            moved.append(Region(**{**vars(region), "box": box, "mask": mask}))
    return moved
