"""Targets: the true mask of each phrase of a record, from what the catalog says about it.

T phrases, H W pixels.
"""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from segplugins.evaluation.samples import check_finite, check_size, describe, output_of
from segplugins.files.label_maps import read_label_map, read_mask
from segplugins.structures.regions import Region


def phrases(record: Mapping[str, Any], known: Mapping[str, Any]) -> Tuple[str, ...]:
    """Returns the T phrases that the model was asked for.

    Args:
        record: as the model got it: "texts" or nothing.
        known: of the catalog: "texts", or else the distinct texts of its "regions", in order.
    """
    texts = record.get("texts", known.get("texts"))
    if texts is None:
        texts = dict.fromkeys(region.text for region in regions_of(known))
    return tuple(texts)


def one_phrase(record: Mapping[str, Any], known: Mapping[str, Any]) -> Tuple[str, ...]:
    """Returns `phrases` of a record that must have exactly one.

    Raises:
        ValueError: it has none or several.
    """
    texts = phrases(record, known)
    if len(texts) != 1:
        raise ValueError(f"{describe(known)}: {len(texts)} phrases, expected one a record")
    return texts


def regions_of(known: Mapping[str, Any]) -> List[Region]:
    """Returns the "regions" of a record of the catalog, which may be plain mappings there."""
    return [r if isinstance(r, Region) else Region(**r) for r in known.get("regions", ())]


def has_truth(known: Mapping[str, Any]) -> bool:
    """Returns whether a record of the catalog says what its phrases mean."""
    return "regions" in known or "mask_file_name" in known


def phrase_targets(
    known: Mapping[str, Any], texts: Sequence[str], size: Tuple[int, int]
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the true mask of each phrase.

    Args:
        known: record of the catalog with one of
            "regions": Region list; a phrase means all regions of that text together, and a region
            with neither mask nor box says that its phrase has no target;
            "mask_file_name": a picture of the one phrase, pixels above 128 belong to it; beside it
            "object_id": the file is a label map instead, and pixels of that label belong to it.
        texts: T phrases.
        size: (H, W) of the truth where no file tells it.

    Returns:
        masks (T, H, W) bool, and (T,) bool: the phrase has no target in this image.

    Raises:
        ValueError: a phrase is none of the record's, a region has a box but no mask, or a mask
            does not fit; the message names the image.
    """
    if "mask_file_name" in known:
        mask = _mask_file(known)[None]
        if len(texts) != 1:
            raise ValueError(
                f"{describe(known)}: one mask file, but {len(texts)} phrases {list(texts)!r:.80}"
            )
        return mask, np.zeros(1, bool)
    masks = np.zeros((len(texts), *size), bool)
    absent = np.zeros(len(texts), bool)
    known_regions = regions_of(known)
    for row, text in enumerate(texts):
        regions = [region for region in known_regions if region.text == text]
        if not regions:
            raise ValueError(f"{describe(known)}: no region says what '{text}' means")
        absent[row] = not any(region.has_target for region in regions)
        for region in regions:
            if region.has_target:
                masks[row] |= _bitmap(known, region, size)
    return masks, absent


def _bitmap(known: Mapping[str, Any], region: Region, size: Tuple[int, int]) -> np.ndarray:
    try:
        return region.bitmap(*size)
    except ValueError as error:
        raise ValueError(f"{describe(known)}, '{region.text}': {error}") from error


def _mask_file(known: Mapping[str, Any]) -> np.ndarray:
    path = known["mask_file_name"]
    if "object_id" in known:
        return read_label_map(path, what="map of objects") == known["object_id"]
    return read_mask(path)


def truth_size(known: Mapping[str, Any], record: Mapping[str, Any]) -> Tuple[int, int]:
    """Returns (H, W) of the image, from the catalog or else from the record."""
    source = known if "height" in known and "width" in known else record
    return int(source["height"]), int(source["width"])


def phrase_masks(
    known: Mapping[str, Any],
    output: Mapping[str, Any],
    texts: Sequence[str],
    size: Optional[Tuple[int, int]],
) -> Tensor:
    """Returns a model's "phrase_masks" after the checks that all evaluations share.

    Args:
        known: record of the catalog.
        output: "phrase_masks" (T, H, W): bool, or scores.
        texts: T phrases.
        size: (H, W) they must have; None = any.

    Raises:
        ValueError: missing, of another shape, or not finite; the message names the image.
    """
    masks = output_of(known, output, "phrase_masks")
    if not isinstance(masks, Tensor):
        masks = torch.as_tensor(masks)
    expected = (len(texts), *(size or tuple(masks.shape[1:])))
    check_size(known, "phrase_masks", masks.shape, expected)
    check_finite(known, "phrase_masks", masks)
    return masks
