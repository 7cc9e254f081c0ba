"""SED: an encoder and a decoder that turn an image and any class names into a label map.

Paper: Xie, Cao, Xie, Khan, Pang, "SED: A Simple Encoder-Decoder for Open-Vocabulary Semantic
Segmentation", CVPR 2024. Reading order: the hierarchical encoder (Sec. 3.1) is the library's
DenseConvNeXt, the cost map (Eq. 1) cost_map.py, the gradual fusion decoder decoder.py with its two
modules aggregation.py (FAM) and fusion.py (SFM); at test the early rejection is rejection.py, run
by chunks.py.
"""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Dict, FrozenSet, Iterator, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from segplugins.clip import load_clip
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.dense_convnext import DenseConvNeXt
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.memory_vote import MemoryVote, embedder_fingerprint
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.modeling.similarity import ImageCells, word_similarity
from segplugins.modeling.windows import windows
from segplugins.structures import Vocabulary
from segplugins.structures.memory import with_smaller_chunks
from segplugins.structures.vocabulary import record_vocabulary
from segplugins.text import TextEncoder, template_set

from .chunks import Decoding
from .cost_map import cost_map
from .decoder import GradualFusionDecoder
from .loss import DecoderLoss
from .maps import ClassMaps, best_classes, score_map
from .records import (
    alphabetical,
    batched_labels,
    drawn_classes,
    one_vocabulary,
    relabelled,
)
from .sliding import WindowedDecoding

logger = logging.getLogger(__name__)

SKIPS = ("res4", "res3", "res2")


@dataclass(frozen=True)
class Inference:
    """Options of the results at test.

    Args:
        top_k: classes per pixel that early rejection keeps; None = no rejection.
        class_chunk: most classes whose features exist at a time; 0 = no bound.
        overlap: of sliding windows; None = one look at the whole image.
        label_maps: answer with label maps instead of probabilities per class.
        background_threshold: with label maps, pixels below it are a vocabulary's none-class, which
            does not compete then. None = no such rule.

    Raises:
        ValueError: a value outside its range.
    """

    top_k: Optional[int] = None
    class_chunk: int = 0
    overlap: Optional[float] = None
    label_maps: bool = False
    background_threshold: Optional[float] = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(
                f"MODEL.SED.REJECTION.TOP_K must be at least 1, got {self.top_k}; "
                "MODEL.SED.REJECTION.ENABLED False switches rejection off"
            )
        if self.class_chunk < 0:
            raise ValueError(f"MODEL.SED.CLASS_CHUNK must be at least 0, got {self.class_chunk}")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise ValueError(f"MODEL.SED.SLIDING.OVERLAP must lie in [0, 1), got {self.overlap}")


@META_ARCH_REGISTRY.register()
class SED(nn.Module):
    """Open-vocabulary semantic segmentation by a decoded image-text cost map.

    Args:
        encoder: images to a dense embedding (B, D, h, w) and the maps "res2" to "res5".
        normalizer: records to one padded batch.
        classifier: embeds the prompts of a vocabulary with a frozen text encoder.
        decoder: cost map and skip features to logits.
        criterion: logits and labels to losses.
        resolution: height and width that images are resized to, in pixels.
        rejection_heads_only: train nothing but the rejection heads.
        train_classes: most classes of a training step, those shown first; 0 = all.
        inference: options of the test results.

    Raises:
        ValueError: a resolution that does not fit the encoder's stride, or `train_classes` < 0.
    """

    learns_from: FrozenSet[str] = frozenset({"sem_seg"})
    answers: FrozenSet[str] = frozenset({"sem_seg"})
    one_vocabulary: bool = True

    @configurable
    def __init__(
        self,
        *,
        encoder: DenseConvNeXt,
        normalizer: ImageNormalizer,
        classifier: VocabularyClassifier,
        decoder: GradualFusionDecoder,
        criterion: DecoderLoss,
        resolution: Sequence[int],
        rejection_heads_only: bool,
        train_classes: int,
        inference: Inference,
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        stride = encoder.size_divisibility
        if len(resolution) != 2 or any(side < stride or side % stride for side in resolution):
            raise ValueError(
                f"MODEL.SED.RESOLUTION must be two multiples of the encoder's stride {stride}, "
                f"got {list(resolution)}"
            )
        if train_classes < 0:
            raise ValueError(f"MODEL.SED.TRAIN_CLASSES must be at least 0, got {train_classes}")
        self.encoder = encoder
        self.normalizer = normalizer
        self.classifier = classifier
        self.decoder = decoder
        self.criterion = criterion
        self.resolution = tuple(resolution)
        self.train_classes = train_classes
        self.inference = inference
        self._freeze_untrained(rejection_heads_only)
        self._resident: Tuple[Optional[Tensor], Optional[Tensor]] = (None, None)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.SED, .CLIP, .MEMORY, TEST.LABEL_MAPS and TEST.BACKGROUND_THRESHOLD."""
        node, clip = cfg.MODEL.SED, cfg.MODEL.CLIP
        towers = load_clip(clip.NAME, clip.WEIGHTS, drop=node.DROP, drop_path=node.DROP_PATH)
        encoder = DenseConvNeXt(towers.visual)
        classifier = VocabularyClassifier(
            TextEncoder(towers, batch=clip.TEXT_BATCH),
            temperature=1.0,  # Eq. 1 has none
            templates=template_set(clip.TEMPLATES),
            synonyms="mean",
            cache_dir=clip.CACHE_DIR,
        )
        classifier.memory = MemoryVote.from_config(cfg, encoder)
        shapes = encoder.output_shape()
        weights, heads_only = list(node.LOSS_WEIGHTS), node.REJECTION_HEADS_ONLY
        return {
            "encoder": encoder,
            "normalizer": ImageNormalizer.of_clip(towers, encoder.size_divisibility),
            "classifier": classifier,
            "decoder": GradualFusionDecoder(
                templates=len(classifier.templates),
                widths=node.DECODER.WIDTHS,
                skip_channels=[shapes[name].channels for name in SKIPS],
                skip_widths=node.DECODER.SKIP_WIDTHS,
                kernel_sizes=node.DECODER.KERNEL_SIZES,
                heads=node.DECODER.HEADS,
                attention=node.DECODER.ATTENTION,
                pooling=node.DECODER.POOLING,
                test_pooling=node.DECODER.TEST_POOLING,
                reads_skips=node.DECODER.SKIP_FEATURES,
            ),
            "criterion": DecoderLoss(
                [0.0, *weights[1:]] if heads_only else weights, node.IGNORED_PIXELS
            ),
            "resolution": node.RESOLUTION,
            "rejection_heads_only": heads_only,
            "train_classes": node.TRAIN_CLASSES,
            "inference": Inference(
                top_k=node.REJECTION.TOP_K if node.REJECTION.ENABLED else None,
                class_chunk=node.CLASS_CHUNK,
                overlap=node.SLIDING.OVERLAP if node.SLIDING.ENABLED else None,
                label_maps=cfg.TEST.LABEL_MAPS,
                background_threshold=cfg.TEST.BACKGROUND_THRESHOLD,
            ),
        }

    def _freeze_untrained(self, rejection_heads_only: bool) -> None:
        """Freezes parameters without a loss, which weight decay would still change."""
        final, *early = self.criterion.weights
        heads = self.decoder.rejection_heads
        if rejection_heads_only or not final:  # the heads read detached features
            self.requires_grad_(False)
            heads.requires_grad_(True)
            logger.info("SED trains its rejection heads alone")
        for number, (weight, head) in enumerate(zip(early, heads), start=1):
            if not weight:
                head.requires_grad_(False)
                logger.info(
                    "SED: rejection head %d is not trained, since MODEL.SED.LOSS_WEIGHTS[%d] is 0",
                    number,
                    number,
                )

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise.

        Args:
            records: one per image, from SegMapper: "image" (3, H, W) RGB 0-255; "vocabulary", its
                name, or None and the "texts" themselves; in training "sem_seg" (H, W) int64; at
                test "height", "width" in pixels.

        Returns:
            Training: "loss_sem_seg_0" of the final logits, "loss_sem_seg_1" to "_3" of the
            rejection heads, scalars. Test: one {"sem_seg": ...} per record, probabilities
            (K, height, width) or, with label maps, (height, width) int64 and their probabilities
            "sem_seg_scores" (height, width).
        """
        if not self.training:
            return self.answer(records)
        images = self.normalizer(records)
        vocabulary = one_vocabulary(records)
        labels = batched_labels(records, images, self.order(vocabulary))
        chosen = drawn_classes(labels, len(vocabulary), self.train_classes)
        text = self.embed(vocabulary)
        if len(chosen) < len(text):
            text, labels = text[chosen], relabelled(labels, chosen, len(text))
        dense, features = self.encoder(self.resized(images.tensor))
        logits = self.decoder(cost_map(dense, text), [features[name] for name in SKIPS])
        return self.criterion(logits, labels)

    def resized(self, images: Tensor) -> Tensor:
        """Returns (B, 3, *resolution), bilinearly, whatever the aspect, of (B, 3, H, W)."""
        return F.interpolate(images, self.resolution, mode="bilinear", align_corners=False)

    def embed(self, vocabulary: Vocabulary) -> Tensor:
        """Embeds the prompts of a vocabulary, its classes in alphabetical order.

        Sums over classes then round alike in whatever order the user wrote them: permuting a
        vocabulary permutes the result to the last bit.

        Returns:
            (K, P, D) text embeddings, on this device or memory-mapped on the CPU.
        """
        bank = self.classifier.embed(alphabetical(vocabulary)[0], keep_templates=True)
        device, chunk = self.normalizer.device, self.inference.class_chunk
        if bank.device != device and (self.training or not chunk or len(bank) <= chunk):
            if self._resident[0] is not bank:
                self._resident = (bank, bank.to(device))
            bank = self._resident[1]
        return bank

    def order(self, vocabulary: Vocabulary) -> Tensor:
        """Returns (K,) int64, row i of `embed` is class order[i] of the vocabulary."""
        return torch.tensor(alphabetical(vocabulary)[1], device=self.normalizer.device)

    @torch.no_grad()
    def answer(self, records: Sequence[dict]) -> List[dict]:
        """Returns {"sem_seg": ...} per record, see `forward`; each image as if it were alone."""
        images = [self.normalizer.normalize(record["image"]) for record in records]
        if self.inference.overlap is not None:
            decodings = (self.slide(*pair) for pair in zip(images, records))
        else:
            whole = torch.cat([self.resized(image[None]) for image in images])
            decodings = self.decode(whole, [record_vocabulary(record) for record in records])
        results = []
        for decoding, record in zip(decodings, records):
            results.append(self._finish(decoding, record_vocabulary(record), record))
        return results

    @torch.no_grad()
    def word_similarity(self, records: Sequence[dict]) -> List[Tensor]:
        """Returns per image (K, height, width) cosines of its pixels and its words, undecoded."""
        return word_similarity(self.image_cells(records), records, self.classifier)

    @property
    def embedder_fingerprint(self) -> str:
        """16 hex digits that change with any weight behind `image_cells`."""
        return embedder_fingerprint(self.encoder)

    @torch.no_grad()
    def image_cells(self, records: Sequence[dict]) -> ImageCells:
        """Returns the embeddings of the cells of images, each seen as a whole."""
        images = [self.normalizer.normalize(record["image"]) for record in records]
        cells, _ = self.encoder(torch.cat([self.resized(image[None]) for image in images]))
        return ImageCells(cells, [self.resolution] * len(images), self.resolution)

    def _finish(self, decoding: ClassMaps, vocabulary: Vocabulary, record: dict) -> dict:
        """Brings a decoding to the size of the record's image, as scores or as labels."""
        order, size = self.order(vocabulary), (record["height"], record["width"])
        if not self.inference.label_maps:
            return {"sem_seg": score_map(decoding, order, size)}
        threshold, none = self.inference.background_threshold, vocabulary.none_index
        if threshold is None or none is None:
            labels, scores = best_classes(decoding, order, size)
        else:
            labels, scores = best_classes(decoding, order, size, left_out=none)
            labels = labels.masked_fill(scores < threshold, none)
        return {"sem_seg": labels, "sem_seg_scores": scores}

    def decode(self, images: Tensor, vocabularies: Sequence[Vocabulary]) -> Iterator[Decoding]:
        """Encodes images together and decodes one after the other, each by its own vocabulary.

        Args:
            images: (B, 3, *resolution), normalised.
            vocabularies: of each image.
        """
        dense, features = self.encoder(images)
        for i, vocabulary in enumerate(vocabularies):
            text = self.embed(vocabulary)
            cells = dense[i].permute(1, 2, 0)
            votes = self.classifier.votes(cells, alphabetical(vocabulary)[0])
            decode = partial(
                Decoding,
                self.decoder,
                dense[i : i + 1],
                [features[name][i : i + 1] for name in SKIPS],
                text,
                top_k=self.inference.top_k,
                votes=None if votes is None else votes.permute(2, 0, 1),
            )
            chunk = min(self.inference.class_chunk or len(text), len(text))
            yield with_smaller_chunks(lambda chunk, decode=decode: decode(chunk=chunk), chunk)

    def slide(self, image: Tensor, record: dict) -> WindowedDecoding:
        """Decodes windows of the resolution's size over an image (3, H, W), normalised."""
        size = image.shape[-2:]
        places = windows(size, self.resolution, self.inference.overlap)
        decodings = [
            next(self.decode(self.resized(place.crop(image)[None]), [record_vocabulary(record)]))
            for place in places
        ]
        return WindowedDecoding(decodings, places, size)
