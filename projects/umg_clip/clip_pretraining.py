"""ClipPretraining: trains a CLIP with meaningful pixel embeddings on image-text pairs.

Reading order: a caption belongs to its image (contrastive.py); a name in its tags belongs to some
cells of it, and a boxed one to the cells of its box (local_alignment.py); off unless a weight says
otherwise, a region belongs to its caption, and images and regions lie near their tags
(granularity.py: Eq. 3 of the paper). What it saves is read by
`load_clip` and, under the same parameter names, by models that hold an encoder and a classifier.

B images, (h, w) grid of the encoder, P = h w cells, D width of the shared space.
"""

import random
from typing import Dict, FrozenSet, List, Mapping, Sequence, Tuple, Union

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.contrastive import contrastive, text_labels
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.memory_vote import MemoryVote, embedder_fingerprint
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.modeling.similarity import ImageCells, word_similarity
from segplugins.structures import Vocabulary, get_vocabulary
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import PLACEHOLDER

from .build import build_classifier, build_tower_options, build_towers
from .granularity import RegionTexts, draw_regions, draw_tag_lists, tag_regression
from .local_alignment import allowed_texts, assignment_loss, presence_loss
from .regions import region_embeddings
from .towers import Tower, build_tower, keep_frozen_in_evaluation

LOSSES = ("loss_caption", "loss_presence", "loss_assignment")  # unless a config says otherwise
GRANULAR_LOSSES = ("loss_region_caption", "loss_image_tag", "loss_region_tag")
ALL_LOSSES = (*LOSSES, *GRANULAR_LOSSES)
TAG_LOSSES = ("regression", "contrastive")


@META_ARCH_REGISTRY.register()
class ClipPretraining(nn.Module):
    """CLIP trained on captions, tags and boxes; at test a zero-shot segmentor without a decoder.

    Args:
        encoder: images to an embedding of every cell, and of the whole.
        normalizer: records to one padded batch.
        classifier: the text encoder, trained, and the temperature, learned.
        loss_weights: factor on each of `ALL_LOSSES`; 0 leaves it out.
        label_maps: answer with label maps instead of scores per class.
        max_regions: most regions of an image whose captions and tags are learned from.
        tag_loss: how tags of images and regions are learned from, of `TAG_LOSSES`.

    Raises:
        ValueError: a loss without a factor, a factor without a loss, no factor above 0, or an
            unknown tag loss.
    """

    learns_from: FrozenSet[str] = frozenset({"pairs"})
    answers: FrozenSet[str] = frozenset(
        {"sem_seg", "class_scores", "image_embedding", "text_embeddings"}
    )

    @configurable
    def __init__(
        self,
        *,
        encoder: Tower,
        normalizer: ImageNormalizer,
        classifier: VocabularyClassifier,
        loss_weights: Mapping[str, float],
        label_maps: bool,
        max_regions: int = 10,
        tag_loss: str = "regression",
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        if set(loss_weights) != set(ALL_LOSSES) or min(loss_weights.values()) < 0:
            raise ValueError(f"loss_weights must be {ALL_LOSSES}, none below 0, got {loss_weights}")
        if not any(loss_weights.values()):
            raise ValueError(
                f"all weights of {ALL_LOSSES} are 0, so nothing would be trained; set one of "
                "MODEL.UMG_CLIP.CAPTION_WEIGHT, PRESENCE_WEIGHT and ASSIGNMENT_WEIGHT above 0"
            )
        if tag_loss not in TAG_LOSSES:
            raise ValueError(
                f"MODEL.UMG_CLIP.TAG_LOSS must be one of {TAG_LOSSES}, got '{tag_loss}'"
            )
        self.encoder = encoder
        self.normalizer = normalizer
        self.classifier = classifier
        self.loss_weights = {name: weight for name, weight in loss_weights.items() if weight}
        self.label_maps = label_maps
        self.max_regions = max_regions
        self.tag_loss = tag_loss

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.CLIP, MODEL.UMG_CLIP, MODEL.MEMORY and TEST.LABEL_MAPS."""
        node = cfg.MODEL.UMG_CLIP
        towers, options = build_towers(cfg), build_tower_options(cfg)
        encoder = build_tower(towers, options)
        weights = (
            node.CAPTION_WEIGHT,
            node.PRESENCE_WEIGHT,
            node.ASSIGNMENT_WEIGHT,
            node.REGION_CAPTION_WEIGHT,
            node.IMAGE_TAG_WEIGHT,
            node.REGION_TAG_WEIGHT,
        )
        # Image-level adaptation (Sec. 5.1) trains adapters alone: texts and temperature stay.
        trained = options.trained != "adapters"
        classifier = build_classifier(cfg, towers, synonyms="mean", trained=trained)
        classifier.memory = MemoryVote.from_config(cfg, encoder)
        return {
            "encoder": encoder,
            "normalizer": ImageNormalizer.of_clip(towers, encoder.size_divisibility),
            "classifier": classifier,
            "loss_weights": dict(zip(ALL_LOSSES, weights)),
            "max_regions": node.MAX_REGIONS,
            "tag_loss": node.TAG_LOSS,
            "label_maps": cfg.TEST.LABEL_MAPS,
        }

    def sharded_units(self) -> List[nn.Module]:
        """Returns what SOLVER.SHARDING gathers alone: blocks of the image tower.

        The text tower is gathered once per step: how often it runs depends on a process's texts.
        """
        return self.encoder.sharded_units()

    def train(self, mode: bool = True) -> "ClipPretraining":
        """A frozen tower stays in evaluation mode, all but its adapters."""
        super().train(mode)
        keep_frozen_in_evaluation(self.encoder)
        return self

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise.

        Args:
            records: in training image-text records with "captions" and, where the source has them,
                "tags" and "regions"; at test images with a "vocabulary" or "texts".

        Returns:
            Training: the losses with a factor, as scalars. Test: per record {"sem_seg"}: softmax
            scores (K, height, width), or with `label_maps` (height, width) int64; of a record with
            "class_index" {"class_scores"} (K,), logits; of one with "captions" {"image_embedding"}
            (D,) and {"text_embeddings"}, a row per caption.
        """
        images = self.normalizer(records)
        cells, pooled = self.encoder.encode(images.tensor)
        if self.training:
            return self.losses(cells, pooled, records, images)
        sizes = images.image_sizes
        return [self._answer(*image) for image in zip(cells, pooled, records, sizes)]

    def _answer(
        self, cells: Tensor, pooled: Tensor, record: dict, size: Tuple[int, int]
    ) -> Dict[str, Tensor]:
        """Answers one record by what it asks for; see `forward`."""
        if record.get("task") == Task.CLASSIFICATION:
            return {"class_scores": self.classifier(pooled[None], _vocabulary_of(record))[0]}
        if record.get("task") == Task.RETRIEVAL:
            texts = self.classifier.text_encoder.pooled(list(record["captions"]))
            return {"image_embedding": pooled, "text_embeddings": texts}
        return {"sem_seg": self.answer(cells, record, size)}

    def losses(
        self, cells: Tensor, pooled: Tensor, records: Sequence[dict], images: ImageList
    ) -> Dict[str, Tensor]:
        """Compares images and cells with the texts of the batch, each encoded once.

        Args:
            cells: (B, D, h, w).
            pooled: (B, D).
            records: of the B images.
            images: the batch, for its sizes.
        """
        captions, described = [], []
        if "loss_caption" in self.loss_weights:
            captions, described = _drawn_captions(records)
        names, shown = [], torch.zeros(len(records), 0, dtype=torch.bool)
        if self.loss_weights.keys() & {"loss_presence", "loss_assignment"}:
            names, shown = _names(records)
        prompts = [random.choice(self.classifier.templates) for _ in names]
        prompts = [prompt.replace(PLACEHOLDER, name) for prompt, name in zip(prompts, names)]
        # Without any text of its own a process encodes an empty one, for the gradient of 0 below.
        regions, tag_lists, tagged = RegionTexts([], [], [], []), [], []
        if self.loss_weights.keys() & {"loss_region_caption", "loss_region_tag"}:
            regions = draw_regions(records, self.max_regions)
        if "loss_image_tag" in self.loss_weights:
            tag_lists, tagged = draw_tag_lists(records)
        groups = [captions, prompts, regions.captions, regions.names, tag_lists]
        texts = self.classifier.text_encoder.pooled(sum(groups, []) or [""])
        counts = [len(group) for group in groups]
        parts = texts[: sum(counts)].split(counts)
        caption_embeddings, name_embeddings, *granular = parts
        losses = {}
        if "loss_caption" in self.loss_weights:
            losses["loss_caption"] = self._contrastive(
                pooled[described], caption_embeddings, captions
            )
        if names:
            losses |= self._local_losses(cells, name_embeddings, names, shown, records, images)
        losses |= self._granular_losses(
            cells, pooled[tagged], granular, (regions, tag_lists), images
        )
        # A batch without tags, or without captions, still gives every loss and every gradient.
        zero = 0.0 * (cells.sum() + pooled.sum() + texts.sum() + self.classifier.scale())
        return {
            name: weight * (losses.get(name, 0.0) + zero)
            for name, weight in self.loss_weights.items()
        }

    def _granular_losses(
        self,
        cells: Tensor,
        tagged: Tensor,
        texts: Sequence[Tensor],
        strings: Tuple[RegionTexts, Sequence[str]],
        images: ImageList,
    ) -> Dict[str, Tensor]:
        """Returns those of `GRANULAR_LOSSES` with a factor; every process takes part in them."""
        regions, tag_lists = strings
        captions, tags, image_tags = texts
        places = regions.shares(*images.tensor.shape[-2:], cells.device)
        embeddings = region_embeddings(cells, *places)
        losses = {}
        if "loss_region_caption" in self.loss_weights:
            losses["loss_region_caption"] = self._contrastive(
                embeddings, captions, regions.captions
            )
        if "loss_region_tag" in self.loss_weights:
            named = embeddings[regions.named]
            losses["loss_region_tag"] = self._tag_loss(named, tags, regions.names)
        if "loss_image_tag" in self.loss_weights:
            losses["loss_image_tag"] = self._tag_loss(tagged, image_tags, tag_lists)
        return losses

    def _tag_loss(self, visual: Tensor, texts: Tensor, strings: Sequence[str]) -> Tensor:
        if self.tag_loss == "contrastive":
            return self._contrastive(visual, texts, strings)
        return tag_regression(visual, texts)

    def _contrastive(self, visual: Tensor, texts: Tensor, strings: Sequence[str]) -> Tensor:
        labels = text_labels(strings, visual.device)
        return contrastive(visual, texts, self.classifier.scale(), labels=labels)

    def _local_losses(
        self,
        cells: Tensor,
        texts: Tensor,
        names: Sequence[str],
        shown: Tensor,
        records: Sequence[dict],
        images: ImageList,
    ) -> Dict[str, Tensor]:
        with torch.autocast(cells.device.type, enabled=False):
            cells = F.normalize(cells.float().flatten(2).transpose(1, 2), dim=-1)
            logits = self.classifier.scale() * cells @ F.normalize(texts.float(), dim=-1).T
        stride = self.encoder.size_divisibility
        grid = tuple(side // stride for side in images.tensor.shape[-2:])
        allowed = torch.stack(
            [
                allowed_texts(names, shown_names, record.get("regions", ()), size, grid, stride)
                for shown_names, record, size in zip(shown, records, images.image_sizes)
            ]
        )
        allowed = allowed.to(cells.device, non_blocking=True).flatten(1, 2)
        inside = _inside(images, grid, stride).to(cells.device, non_blocking=True)
        shown = shown.to(cells.device, non_blocking=True)
        return {
            "loss_presence": presence_loss(logits, shown, inside),
            "loss_assignment": assignment_loss(logits, allowed),
        }

    @torch.no_grad()
    def word_similarity(self, records: Sequence[dict]) -> List[Tensor]:
        """Returns per image (K, height, width) cosines of its cells and its words."""
        return word_similarity(self.image_cells(records), records, self.classifier)

    @property
    def embedder_fingerprint(self) -> str:
        """16 hex digits that change with any weight behind `image_cells`."""
        return embedder_fingerprint(self.encoder)

    @torch.no_grad()
    def image_cells(self, records: Sequence[dict]) -> ImageCells:
        """Returns the embeddings of the cells of images."""
        images = self.normalizer(records)
        cells, _ = self.encoder.encode(images.tensor)
        return ImageCells(cells, images.image_sizes, tuple(images.tensor.shape[-2:]))

    def answer(self, cells: Tensor, record: dict, size: Tuple[int, int]) -> Tensor:
        """Scores every pixel of one image against its vocabulary.

        Args:
            cells: (D, h, w) of the padded image.
            record: "vocabulary" or "texts", "height", "width".
            size: height and width of the image without padding, in pixels.

        Returns:
            (K, height, width) softmax scores, or (height, width) int64 label map.
        """
        logits = self.classifier(cells.permute(1, 2, 0), _vocabulary_of(record)).permute(2, 0, 1)
        stride = self.encoder.size_divisibility
        full = [side * stride for side in cells.shape[-2:]]
        result = (record["height"], record["width"])

        def upsampled(maps: Tensor) -> Tensor:
            maps = F.interpolate(maps[None], full, mode="bilinear")[..., : size[0], : size[1]]
            return F.interpolate(maps, result, mode="bilinear")[0]

        if not self.label_maps:
            return upsampled(logits).float().softmax(dim=0)
        best = labels = None
        for start, chunk in zip(range(0, len(logits), _CLASSES), logits.split(_CLASSES)):
            highest, index = upsampled(chunk).max(dim=0)
            if best is None:
                best, labels = highest, index
            else:
                labels = torch.where(highest > best, index + start, labels)
                best = torch.maximum(best, highest)
        return labels


_CLASSES = 32  # upsampled at a time for a label map


def clip_state_dict(model: ClipPretraining) -> Dict[str, Tensor]:
    """Returns the towers as open_clip names them: "visual.*", the text tower, "logit_scale".

    Raises:
        ValueError: the image tower has adapters, which open_clip's model has not.
    """
    if model.encoder.adapters is not None:
        raise ValueError(
            "an adapted CLIP is no CLIP of open_clip: its adapters would be left out; keep the "
            "checkpoint of the run and load it as MODEL.WEIGHTS under the same config"
        )
    text = model.classifier.text_encoder.text.state_dict()
    visual = {f"visual.{key}": value for key, value in model.encoder.state_dict().items()}
    return {**visual, **text, "logit_scale": model.classifier.logit_scale.detach()}


def _vocabulary_of(record: dict) -> Union[Vocabulary, Sequence[str]]:
    if record.get("vocabulary") is not None:
        return get_vocabulary(record["vocabulary"])
    return record["texts"]


def _drawn_captions(records: Sequence[dict]) -> Tuple[List[str], List[int]]:
    """Returns one caption of each image with captions, and the indices of these images."""
    described = [index for index, record in enumerate(records) if record.get("captions")]
    return [random.choice(records[index]["captions"]) for index in described], described


def _names(records: Sequence[dict]) -> Tuple[List[str], Tensor]:
    """Returns the T names that the batch shows, and (B, T) bool: the names of each image."""
    names_shown = [
        {
            *record.get("tags", ()),
            *(r.text for r in record.get("regions", ()) if r.has_target and r.text),
        }
        for record in records
    ]
    names = sorted(set().union(*names_shown))
    shown = [[name in image_names for name in names] for image_names in names_shown]
    return names, torch.tensor(shown, dtype=torch.bool).reshape(len(records), len(names))


def _inside(images: ImageList, grid: Sequence[int], stride: int) -> Tensor:
    """Returns (B, P) bool, False where a cell holds padding alone."""
    rows, columns = torch.arange(grid[0]) * stride, torch.arange(grid[1]) * stride
    return torch.stack(
        [
            ((rows < height)[:, None] & (columns < width)).flatten()
            for height, width in images.image_sizes
        ]
    )
