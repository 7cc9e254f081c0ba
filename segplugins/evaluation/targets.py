"""Targets: the true mask of each phrase of a record, and the masks that a model gives for them.

T phrases, H W pixels.
"""

import math
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from segplugins.evaluation.output_checks import check_finite, check_size, tensor_of
from segplugins.evaluation.sample_identity import describe
from segplugins.files.label_maps import read_label_map, read_mask
from segplugins.structures.regions import Region

# Enlarging a probability map can round its values this far beyond 0-1.
_ROUNDING = 1e-3


def phrases(
    model_input: Mapping[str, Any], record: Mapping[str, Any], *, of_regions: bool = True
) -> Tuple[str, ...]:
    """Returns the T phrases that the model was asked for.

    Args:
        model_input: the record as the model received it: "texts" or nothing.
        record: of the catalog: "texts", or else the distinct texts of its "regions", in order.
        of_regions: the truth of the phrases stands in "regions", unless there is a mask file.

    Raises:
        ValueError: a phrase stands twice, or the model was not asked for exactly the phrases whose
            truth the catalog holds: what was left out would be scored by nothing.
    """
    region_texts = list(dict.fromkeys(region.text for region in regions_of(record)))
    record_texts = record.get("texts", region_texts or model_input.get("texts", ()))
    record_texts = _texts(record, record_texts)
    asked_texts = _texts(record, model_input.get("texts", record_texts))
    by_regions = of_regions and "mask_file_name" not in record
    expected = (region_texts if by_regions else ()) or record_texts
    for texts, who in (
        (record_texts, "its record lists"),
        (asked_texts, "the model was asked for"),
    ):
        missing = [text for text in expected if text not in texts]
        extra = [text for text in texts if text not in expected]
        if missing or extra:
            raise ValueError(
                f"{describe(record)}: {who} {len(texts)} phrases for the {len(expected)} of the "
                f"truth: missing {missing!r:.80}, without a truth {extra!r:.80} (no region says "
                "what it means)"
            )
    return asked_texts


def _texts(record: Mapping[str, Any], texts: Any) -> Tuple[str, ...]:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{describe(record)}: texts must be a list of phrases, got {texts!r:.80}")
    if len(set(texts)) < len(texts):
        raise ValueError(f"{describe(record)}: a phrase stands twice in {list(texts)!r:.120}")
    return tuple(texts)


def one_phrase(model_input: Mapping[str, Any], record: Mapping[str, Any]) -> Tuple[str, ...]:
    """Returns `phrases` of a record that must have exactly one.

    Raises:
        ValueError: it has none or several.
    """
    texts = phrases(model_input, record)
    if len(texts) != 1:
        raise _not_one(record, texts)
    return texts


def check_phrase_truth(records: Sequence[Mapping[str, Any]], *, single: bool = False) -> None:
    """Compares the phrases of all records with their truth, and reads the masks of the first one.

    Args:
        records: of the catalog.
        single: a record must have exactly one phrase.

    Raises:
        ValueError, FileNotFoundError: a truth that no prediction could be scored by; the message
            names the image.
    """
    for number, record in enumerate(records):
        texts = phrases(record, record)
        if not texts and "mask_file_name" in record:
            texts = ("",)  # the mapper names what the file shows
        if single and len(texts) != 1:
            raise _not_one(record, texts)
        # Without a size the masks wait for that of the picture.
        if number == 0 and ("mask_file_name" in record or "height" in record and "width" in record):
            size = (0, 0) if "height" not in record else truth_size(record, record)
            phrase_targets(record, texts, size)


def _not_one(record: Mapping[str, Any], texts: Sequence[str]) -> ValueError:
    return ValueError(f"{describe(record)}: {len(texts)} phrases, expected one a record")


def regions_of(record: Mapping[str, Any]) -> List[Region]:
    """Returns the "regions" of a record of the catalog, which may be plain mappings there."""
    return [r if isinstance(r, Region) else Region(**r) for r in record.get("regions", ())]


def has_truth(record: Mapping[str, Any]) -> bool:
    """Returns whether a record of the catalog says what its phrases mean."""
    return "regions" in record or "mask_file_name" in record


def phrase_targets(
    record: Mapping[str, Any], texts: Sequence[str], size: Tuple[int, int]
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the true mask of each phrase.

    Args:
        record: of the catalog, with one of
            "regions": Region list; a phrase means all regions of that text together, and a region
            with neither mask nor box says that its phrase has no target;
            "mask_file_name": a picture of the one phrase, see `read_mask`; beside it "object_id":
            the file is a label map instead, and pixels of that label belong to it.
        texts: T phrases.
        size: (H, W) of the image.

    Returns:
        masks (T, H, W) bool, and (T,) bool: the phrase has no target in this image.

    Raises:
        ValueError: a phrase is none of the record's, a region has a box but no mask, or a mask
            does not fit; the message names the image.
    """
    if "mask_file_name" in record:
        if len(texts) != 1:
            raise ValueError(
                f"{describe(record)}: one mask file, but {len(texts)} phrases {list(texts)!r:.80}"
            )
        mask = _mask_file(record)
        if "height" in record and "width" in record:
            check_size(record, f"the mask {record['mask_file_name']}", mask.shape, size)
        return mask[None], np.zeros(1, bool)
    masks = np.zeros((len(texts), *size), bool)
    absent = np.zeros(len(texts), bool)
    all_regions = regions_of(record)
    for row, text in enumerate(texts):
        regions = [region for region in all_regions if region.text == text]
        if not regions:
            raise ValueError(f"{describe(record)}: no region says what '{text}' means")
        absent[row] = not any(region.has_target for region in regions)
        for region in regions:
            if region.has_target:
                masks[row] |= _bitmap(record, region, size)
    return masks, absent


def _bitmap(record: Mapping[str, Any], region: Region, size: Tuple[int, int]) -> np.ndarray:
    try:
        return region.bitmap(*size)
    except ValueError as error:
        raise ValueError(f"{describe(record)}, '{region.text}': {error}") from error


def _mask_file(record: Mapping[str, Any]) -> np.ndarray:
    path = record["mask_file_name"]
    if "object_id" in record:
        return read_label_map(path, what="map of objects") == record["object_id"]
    return read_mask(path)


def truth_size(record: Mapping[str, Any], model_input: Mapping[str, Any]) -> Tuple[int, int]:
    """Returns (H, W) of the image, from the catalog or else from the record the model received.

    Raises:
        ValueError: neither has both.
    """
    source = record if "height" in record and "width" in record else model_input
    if "height" not in source or "width" not in source:
        raise ValueError(f"{describe(record)}: height and width of the image are missing")
    return int(source["height"]), int(source["width"])


def phrase_masks(
    record: Mapping[str, Any],
    output: Mapping[str, Any],
    texts: Sequence[str],
    size: Optional[Tuple[int, int]],
) -> Tensor:
    """Returns a model's "phrase_masks" after the checks that all evaluations share.

    Args:
        record: of the catalog.
        output: "phrase_masks" (T, H, W): bool, scores 0-1, or whole numbers.
        texts: T phrases.
        size: (H, W) they must have; None = any.

    Returns:
        bool or whole numbers as they are, scores float32 or better, within 0-1.

    Raises:
        ValueError: missing, of another shape, not finite, or scores outside 0-1; the message names
            the image.
    """
    masks = tensor_of(record, output, "phrase_masks")
    expected = (len(texts), *(size or tuple(masks.shape[1:])))
    check_size(record, "phrase_masks", masks.shape, expected)
    if masks.dim() != 3:
        raise ValueError(
            f"{describe(record)}: phrase_masks has shape {tuple(masks.shape)}, expected (T, H, W)"
        )
    if not masks.is_floating_point():
        return masks
    check_finite(record, "phrase_masks", masks)
    masks = masks.to(torch.promote_types(masks.dtype, torch.float32))
    low, high = map(float, torch.aminmax(masks)) if masks.numel() else (0.0, 1.0)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(
            f"{describe(record)}: the scores of phrase_masks range from {low:g} to {high:g}, "
            "expected 0-1 (a sigmoid)"
        )
    return masks.clamp(0, 1) if low < 0 or high > 1 else masks


def binary_masks(record: Mapping[str, Any], masks: Tensor, threshold: float) -> Tensor:
    """Returns masks as bool: scores above the threshold, or whole numbers of 0 and 1.

    Raises:
        ValueError: whole numbers other than 0 and 1; the message names the image.
    """
    if masks.dtype == torch.bool:
        return masks
    if masks.is_floating_point():
        return masks > threshold
    low, high = (int(value) for value in torch.aminmax(masks)) if masks.numel() else (0, 1)
    if low < 0 or high > 1:
        raise ValueError(
            f"{describe(record)}: phrase_masks holds {masks.dtype} values {low} to {high}; "
            "expected bool, 0 and 1, or float scores 0-1"
        )
    return masks.bool()


def check_threshold(threshold: float) -> float:
    """Returns a threshold of scores 0-1. Raises ValueError where it is none."""
    if not 0 <= threshold < 1 or math.isnan(threshold):
        raise ValueError(f"threshold must be at least 0 and below 1, got {threshold}")
    return threshold
