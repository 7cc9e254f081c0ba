"""The stages that make annotations of those that are there: unions, masks without overlap."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import ClassVar, Dict, List, Sequence, Tuple

import numpy as np

from segplugins.annotation.sample import Sample, rounded
from segplugins.annotation.stage import Stage, check_share
from segplugins.structures.regions import Region, box_of_mask, encode_mask
from segplugins.structures.vocabulary import folded


@dataclass(kw_only=True)
class MergeByText(Stage):
    """Makes one region of all that have the same text: the union of their masks.

    The score becomes the mean of theirs; their numbers stay in `extra["merged"]`.

    Args:
        template: the new text, with "{}" for the old.
    """

    name: ClassVar[str] = "merge_by_text"
    needs: ClassVar[Tuple[str, ...]] = ("masks",)

    template: str = "all {}"

    def check(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(f"template is {self.template!r}, expected '{{}}' once in it")

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            groups: Dict[str, List[Region]] = defaultdict(list)
            others = []
            for region in sample.regions:
                if region.mask is None:
                    others.append(region)
                else:
                    groups[folded(region.text)].append(region)
            sample.regions = others
            for members in groups.values():
                self._merge(sample, members)

    def _merge(self, sample: Sample, members: Sequence[Region]) -> None:
        union = np.logical_or.reduce([r.bitmap(*sample.image.size) for r in members])
        quality = [r.extra["quality"] for r in members if r.extra.get("quality") is not None]
        source, text = members[0].extra, self.template.replace("{}", members[0].text)
        if folded(members[0].text) in map(folded, sample.not_exhaustive):
            sample.not_exhaustive.append(text)
        sample.add(
            Region(
                text,
                box_of_mask(union),
                encode_mask(union),
                is_thing=members[0].is_thing,
                score=float(np.mean([region.score for region in members])),
                extra={k: source[k] for k in ("label_source", "mask_source") if k in source},
            ),
            label=members[0].text,
            merged=[region.extra["region_id"] for region in members],
            quality=rounded(float(np.mean(quality))) if quality else None,
        )


@dataclass(kw_only=True)
class ComposePanoptic(Stage):
    """Makes masks that do not overlap: stuff first, then things, the surest last and on top.

    A thing's rank is its score times its stability under jitter, where that was measured.

    Args:
        min_share: a segment that keeps less of its area is dropped.
        min_pixels: a segment left with fewer pixels is dropped.
    """

    name: ClassVar[str] = "compose_panoptic"
    needs: ClassVar[Tuple[str, ...]] = ("masks",)

    min_share: float = 0.2
    min_pixels: int = 64

    def check(self) -> None:
        check_share("min_share", self.min_share)

    def __call__(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            with_masks = [i for i, region in enumerate(sample.regions) if region.mask is not None]
            order = sorted(with_masks, key=lambda index: _rank(sample.regions[index]))
            canvas = np.full(sample.image.size, -1, np.int64)
            areas = {}
            for index in order:
                mask = sample.bitmap(index)
                canvas[mask], areas[index] = index, int(mask.sum())
            verdicts, values = {}, {}
            for index in with_masks:
                left = canvas == index
                pixels = int(left.sum())
                values[index] = pixels / max(areas[index], 1)
                verdicts[index] = pixels >= self.min_pixels and values[index] >= self.min_share
                if verdicts[index]:
                    sample.regions[index] = replace(
                        sample.regions[index], box=box_of_mask(left), mask=encode_mask(left)
                    )
            sample.judge(self.title, verdicts, values, self.min_share, note="share of area left")


def _rank(region: Region) -> Tuple[bool, float]:
    stability = region.extra.get("mask_stability")  # 0 is the least stable, None was not measured
    return region.is_thing, region.score * (1.0 if stability is None else stability)
