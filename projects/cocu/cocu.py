"""CoCu: GroupViT learned from captions whose missing concepts are curated back.

Paper: Xing et al., "Rewrite Caption Semantics: Bridging Semantic Gaps for Language-Supervised
Semantic Segmentation", NeurIPS 2023. Reading order: the image encoder group_vit.py with its
grouping grouping.py, the text encoder and the projectors texts.py, the loss over several concepts
multi_label.py (Eq. 3 to 5), and the decoding of masks from segments decode.py and pamr.py. The
concepts of an image are chosen before training, in curation/ (Eq. 6 to 8).

B images, L concepts of an image, K classes, G segments, D width of the shared space, H W pixels.
"""

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from timm.data.random_erasing import RandomErasing
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.clip import load_tokenizer
from segplugins.modeling.contrastive import contrastive, text_labels
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.modeling.postprocess import MaskResizer
from segplugins.modeling.windows import Window, windows
from segplugins.structures import get_vocabulary
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import PLACEHOLDER
from segplugins.text import template_set

from .decode import class_logits, pixel_segments, segment_scores
from .group_vit import GroupViT
from .multi_label import FORMS, multi_label_contrastive
from .pamr import refine_masks
from .sampling import CAPTIONS, SAMPLERS, draw_captions
from .texts import Projector, TextTransformer

_MAX_SCALE = 100.0
_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Inference:
    """Options of the results at test.

    Args:
        templates: prompts of class names, unless the vocabulary brings its own.
        background_threshold: scores below it are the vocabulary's background; None = no background.
        window: side of sliding windows in pixels; None = the whole image at once.
        stride: of the windows in pixels.
        local_consistency: masks follow the edges of the picture.
        label_maps: answer with label maps instead of scores.

    Raises:
        ValueError: a stride longer than the window.
    """

    templates: Tuple[str, ...]
    background_threshold: Optional[float] = None
    window: Optional[int] = None
    stride: int = 1
    local_consistency: bool = False
    label_maps: bool = False

    def __post_init__(self) -> None:
        if self.window is not None and self.stride > self.window:
            raise ValueError(
                f"MODEL.COCU.SLIDING: STRIDE {self.stride} is longer than SIZE {self.window}, so "
                "that pixels would be left out"
            )


@META_ARCH_REGISTRY.register()
class CoCu(nn.Module):
    """GroupViT, trained on captions and concepts; at test a zero-shot segmentor.

    Args:
        image_encoder: images to segments.
        image_projector: segments into the shared space.
        text_encoder: tokens to features.
        text_projector: features into the shared space.
        tokenizer: texts to (T, context) ids.
        normalizer: records to one padded batch.
        labels: L, concepts of an image in training.
        templates: prompts of concepts in training.
        loss_form: see `multi_label_contrastive`.
        sampler: which concepts of an archive a step takes, one of `SAMPLERS` or "captions".
        erasing: share of training images of which a part is erased.
        inference: options of the test results.
    """

    learns_from: FrozenSet[str] = frozenset({"pairs"})
    answers: FrozenSet[str] = frozenset({"sem_seg", "class_scores"})

    @configurable
    def __init__(
        self,
        *,
        image_encoder: GroupViT,
        image_projector: Projector,
        text_encoder: TextTransformer,
        text_projector: Projector,
        tokenizer: Callable[[Sequence[str]], Tensor],
        normalizer: ImageNormalizer,
        labels: int,
        templates: Sequence[str],
        loss_form: str,
        inference: Inference,
        sampler: str = "cluster",
        erasing: float = 0.0,
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        if loss_form not in FORMS:
            raise ValueError(f"MODEL.COCU.LOSS_FORM must be one of {FORMS}, got '{loss_form}'")
        if sampler not in (*SAMPLERS, CAPTIONS):
            raise ValueError(
                f"MODEL.COCU.SAMPLER is '{sampler}', expected one of {(*SAMPLERS, CAPTIONS)}"
            )
        self.sampler = sampler
        self.erasing = erasing
        self.img_encoder, self.img_projector = image_encoder, image_projector
        self.text_encoder, self.text_projector = text_encoder, text_projector
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / _TEMPERATURE)))
        self.multi_label_logit_scale = nn.Parameter(self.logit_scale.detach().clone())
        self.multi_label_logit_scale.requires_grad_(labels > 0)
        self.tokenizer, self.normalizer = tokenizer, normalizer
        self.labels, self.templates, self.loss_form = labels, tuple(templates), loss_form
        self.inference = inference
        self._class_embeddings: Dict[Tuple, Tensor] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.COCU, MODEL.CLIP.TEMPLATES, MODEL.PIXEL_MEAN and _STD, and TEST."""
        node = cfg.MODEL.COCU
        image, text, projector = node.IMAGE, node.TEXT, node.PROJECTOR
        tokenizer = load_tokenizer(text.CONTEXT)
        return {
            "image_encoder": GroupViT(
                image_size=image.SIZE,
                patch=image.PATCH,
                width=image.WIDTH,
                depths=image.DEPTHS,
                heads=image.HEADS,
                group_tokens=image.GROUP_TOKENS,
                groups_out=image.OUTPUT_GROUPS,
                drop_path=image.DROP_PATH,
                init_std=image.INIT_STD,
            ),
            "image_projector": Projector(image.WIDTH, projector.HIDDEN, projector.OUT),
            "text_encoder": TextTransformer(
                vocabulary=tokenizer.vocab_size,
                context=text.CONTEXT,
                width=text.WIDTH,
                layers=text.LAYERS,
            ),
            "text_projector": Projector(text.WIDTH, projector.HIDDEN, projector.OUT),
            "tokenizer": tokenizer,
            "normalizer": ImageNormalizer(cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, image.PATCH),
            "labels": node.LABELS,
            "templates": template_set(node.TEMPLATES),
            "loss_form": node.LOSS_FORM,
            "sampler": node.SAMPLER,
            "erasing": node.ERASING,
            "inference": Inference(
                templates=tuple(template_set(cfg.MODEL.CLIP.TEMPLATES)),
                background_threshold=cfg.TEST.BACKGROUND_THRESHOLD,
                window=node.SLIDING.SIZE if node.SLIDING.ENABLED else None,
                stride=node.SLIDING.STRIDE,
                local_consistency=node.LOCAL_CONSISTENCY,
                label_maps=cfg.TEST.LABEL_MAPS,
            ),
        }

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise.

        Args:
            records: in training image-text records with "captions" and "sidecar", the archive of
                the image, or, where the source has them, "tags", its concepts; at test images with
                a "vocabulary" or "texts".

        Returns:
            Training: {"loss_caption", "loss_concepts"}, scalars. Test: per record {"sem_seg"},
            scores (K, height, width), or with label maps (height, width) int64; of the task
            "classification" {"class_scores"} (K,).
        """
        if self.training:
            return self.losses(records)
        return [
            {"class_scores": self.classify(record)}
            if record.get("task") == Task.CLASSIFICATION
            else {"sem_seg": self.answer(record)}
            for record in records
        ]

    def losses(self, records: Sequence[dict]) -> Dict[str, Tensor]:
        """Returns the caption and the concept loss; 0 for images without any text.

        Args:
            records: B of them.
        """
        images = self.erased(self.normalizer(list(records)).tensor)
        pooled = self.img_projector(self.img_encoder(images).pooled)
        captions, concepts, described = self.draw_texts(records)
        texts = captions + [text for row in concepts for text in row]
        # A batch without a text still runs the text encoder, so that every process does the same.
        embedded = self.embed(texts or ["nothing"])
        caption_embeddings = embedded[: len(captions)]
        images = pooled[described]
        zero = 0.0 * (pooled.sum() + embedded.sum())
        loss = contrastive(
            images,
            caption_embeddings,
            self.scale(self.logit_scale),
            labels=text_labels(captions, pooled.device),
        )
        losses = {"loss_caption": loss + zero}
        if self.labels:
            concept_embeddings = embedded[len(captions) : len(texts)]
            concept_embeddings = concept_embeddings.unflatten(0, (len(captions), self.labels))
            losses["loss_concepts"] = zero + self.concept_loss(images, concept_embeddings)
        return losses

    def erased(self, images: Tensor) -> Tensor:
        """Returns normalised images (B, 3, H, W), noise in a part of some of them."""
        if not self.erasing:
            return images
        device = str(images.device)
        return RandomErasing(self.erasing, mode="pixel", max_count=1, device=device)(images)

    def concept_loss(self, images: Tensor, concepts: Tensor) -> Tensor:
        """Returns the multi-label loss of (B, D) images and (B, L, D) concepts; 0 if B is 0."""
        # Without an image too: the other processes wait for the rows of this one.
        scale = self.scale(self.multi_label_logit_scale)
        return multi_label_contrastive(images, concepts, scale, form=self.loss_form)

    def draw_texts(self, records: Sequence[dict]) -> Tuple[List[str], List[List[str]], List[int]]:
        """Returns a caption and L prompts of each image with text, and the image indices."""
        captions, concepts, described = [], [], []
        for index, record in enumerate(records):
            sentences = list(record.get("captions") or record.get("tags") or ())
            if not sentences:
                continue
            caption = sentences[int(torch.randint(len(sentences), ()))]
            prompts = self.draw_concepts(record)
            captions.append(caption)
            concepts.append(prompts + [caption] * (self.labels - len(prompts)))
            described.append(index)
        return captions, concepts, described

    def draw_concepts(self, record: Mapping[str, Any]) -> List[str]:
        """Returns up to L texts of an image: of its archive, or without one of its tags."""
        archive, sampler = record.get("sidecar"), self.sampler
        if archive is None:
            archive, sampler = {"concepts": list(record.get("tags") or ())}, "uniform"
        if not self.labels:
            return []
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        if sampler == CAPTIONS:
            return draw_captions(archive, self.labels, generator)
        return [self._prompt(name) for name in SAMPLERS[sampler](archive, self.labels, generator)]

    def _prompt(self, name: str) -> str:
        template = self.templates[int(torch.randint(len(self.templates), ()))]
        return template.replace(PLACEHOLDER, name)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Returns (T, D) of T texts, not normalised."""
        tokens = self.tokenizer(list(texts)).to(self.logit_scale.device, non_blocking=True)
        return self.text_projector(self.text_encoder(tokens))

    @staticmethod
    def scale(parameter: Tensor) -> Tensor:
        """Returns the factor on cosines, 100 at most."""
        return parameter.exp().clamp(max=_MAX_SCALE)

    def class_embedding(self, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Returns (K, D): the mean of the raw embeddings over the templates, normalised."""
        key = (tuple(names), tuple(templates))
        if key not in self._class_embeddings:
            prompts = [t.replace(PLACEHOLDER, name) for name in names for t in templates]
            embedded = self.embed(prompts).unflatten(0, (len(names), len(templates))).mean(dim=1)
            self._class_embeddings = {key: F.normalize(embedded, dim=-1)}
        return self._class_embeddings[key]

    def train(self, mode: bool = True) -> "CoCu":
        """Forgets class embeddings: the text encoder may change."""
        self._class_embeddings = {}
        return super().train(mode)

    @torch.no_grad()
    def word_similarity(self, records: Sequence[dict]) -> List[Tensor]:
        """Returns per image (K, height, width) cosines of its places and its words (Fig. 4).

        A place has the mean cosine of the segments, by its share in each.
        """
        return [self._similarity(record) for record in records]

    def _similarity(self, record: dict) -> Tensor:
        names, templates, _ = _classes(record, self.inference.templates)
        image = self.normalizer.normalize(record["image"])[None]
        padded = _padded(image, self.normalizer.divisibility)
        segments = self.img_encoder(padded)
        tokens = F.normalize(self.img_projector(segments.tokens), dim=-1)[0]
        cosines = self.class_embedding(names, templates) @ tokens.T
        maps = torch.einsum("kg,ghw->khw", cosines, segments.maps()[0])
        size, covered = tuple(image.shape[-2:]), tuple(padded.shape[-2:])
        return MaskResizer.of_record(record, covered, size, len(maps))(maps)

    @torch.no_grad()
    def classify(self, record: dict) -> Tensor:
        """Returns (K,) scores of the whole image: its pooled segments against the classes."""
        vocabulary = get_vocabulary(record["vocabulary"])
        names = [texts[0] for texts in vocabulary.synonyms]
        texts = self.class_embedding(names, vocabulary.templates or self.inference.templates)
        image = self.normalizer.normalize(record["image"])[None]
        segments = self.img_encoder(_padded(image, self.normalizer.divisibility))
        pooled = F.normalize(self.img_projector(segments.pooled), dim=-1)
        return self.scale(self.logit_scale) * (pooled @ texts.T)[0]

    @torch.no_grad()
    def answer(self, record: dict) -> Tensor:
        """Returns (K, height, width) scores of one image, or its (height, width) label map."""
        names, templates, background = _classes(record, self.inference.templates)
        threshold = self.inference.background_threshold if background is not None else None
        class_names = [
            name for index, name in enumerate(names) if threshold is None or index != background
        ]
        texts = self.class_embedding(class_names, templates)
        image = self.normalizer.normalize(record["image"])[None]
        logits = self._window_logits(image, texts, threshold)
        if self.inference.local_consistency:
            logits = refine_masks(image, logits)
        if "image_box" in record:
            x0, y0, x1, y1 = record["image_box"]
            logits = logits[..., y0:y1, x0:x1]
        size = (record["height"], record["width"])
        scores = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0]
        if threshold is not None:  # the background stands first; it belongs where it is listed
            scores = torch.cat([scores[1 : background + 1], scores[:1], scores[background + 1 :]])
        return scores.argmax(dim=0) if self.inference.label_maps else scores

    def _window_logits(self, image: Tensor, texts: Tensor, threshold: Optional[float]) -> Tensor:
        """Returns (1, K, H, W), the mean over the windows that see a pixel."""
        size = tuple(image.shape[-2:])
        if self.inference.window is None:
            return self.logits(image, texts, threshold)
        side = self.inference.window
        places: List[Window] = windows(size, (side, side), 1 - self.inference.stride / side)
        total, counts = None, image.new_zeros(size)
        for place in places:
            part = self.logits(place.crop(image), texts, threshold)
            if total is None:
                total = part.new_zeros(1, part.shape[1], *size)
            place.crop(total).add_(part)
            place.crop(counts).add_(1)
        return total / counts

    def logits(self, images: Tensor, texts: Tensor, threshold: Optional[float]) -> Tensor:
        """Returns (B, K, H, W), with a threshold (B, 1 + K, H, W), of normalised images.

        Args:
            images: (B, 3, H, W).
            texts: (K, D), of `class_embedding`.
            threshold: of the background; None = none.
        """
        segments = self.img_encoder(_padded(images, self.normalizer.divisibility))
        scores, _ = segment_scores(
            self.img_projector(segments.tokens),
            self.img_projector(segments.pooled),
            texts,
            self.scale(self.logit_scale),
        )
        pixels = pixel_segments(segments.maps(), images.shape[-2:])
        return class_logits(scores, pixels, threshold)


def _padded(images: Tensor, divisibility: int) -> Tensor:
    """Returns images of at least one patch in each direction."""
    height, width = images.shape[-2:]
    down, right = max(divisibility - height, 0), max(divisibility - width, 0)
    return F.pad(images, (0, right, 0, down)) if down or right else images


def _classes(
    record: dict, templates: Tuple[str, ...]
) -> Tuple[Sequence[str], Sequence[str], Optional[int]]:
    """Returns the names that a record asks for, their prompts, and the index of the background."""
    if record.get("vocabulary") is None:
        return record["texts"], (PLACEHOLDER,), None
    vocabulary = get_vocabulary(record["vocabulary"])
    return vocabulary.classes, vocabulary.templates or templates, vocabulary.none_index
