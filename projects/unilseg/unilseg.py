"""UniLSeg: turns an image and a phrase of any granularity into one mask.

Paper: Liu, Zhang, Wang, Wang, Yang, Tang, "Universal Segmentation at Arbitrary Granularity with
Language Instruction", CVPR 2024. Reading order: a Swin and CLIP's text encoder, Pre-Fusion (Eq. 1)
pre_fusion.py, the vision path (Eq. 2 to 5) vision_path.py, the language path language_path.py;
their product is the response (Eq. 6). prompts.py turns names into phrases, samples.py draws the
training samples of an image, and responses.py turns responses into results.

B images · T phrases · L words · J decoder layers · (h, w) finest grid · H W pixels.
"""

from dataclasses import dataclass
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.backbone.swin import SwinTransformer
from torch import Tensor, nn

from segplugins.clip import ClipTowers, load_clip
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.named_backbone import named_backbone, pixel_statistics
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.modeling.swin import build_swin
from segplugins.structures import get_vocabulary
from segplugins.structures.memory import joined_chunks
from segplugins.structures.regions import Task
from segplugins.text import TextEncoder
from segplugins.text.cache import RowCache

from .language_path import LanguagePath
from .loss import ResponseLoss
from .pre_fusion import PreFusion
from .prompts import Prompts
from .responses import RESIZES, PhraseGroups, Placement, best_classes, probabilities, score_map
from .samples import Sample, Sampling, padded_masks
from .vision_path import VisionPath

_PHRASE_BYTES = 128 * 2**20  # of encoded phrases that are kept


@dataclass(frozen=True)
class Inference:
    """Options of the results at test.

    Args:
        threshold: probabilities above it belong to a mask.
        chunk: phrases that are answered at a time; it bounds memory, not the result.
        resize: see `probabilities`.
        label_maps: answer vocabularies with label maps instead of probabilities per class.
        background_threshold: with label maps, pixels below it are a vocabulary's none-class.

    Raises:
        ValueError: a value outside its range.
    """

    threshold: float = 0.5
    chunk: int = 8
    resize: str = "paper"
    label_maps: bool = False
    background_threshold: Optional[float] = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"MODEL.UNILSEG.TEST.THRESHOLD must lie in [0, 1), got {self.threshold}"
            )
        if self.chunk < 1:
            raise ValueError(
                f"MODEL.UNILSEG.TEST.PROMPT_CHUNK must be at least 1, got {self.chunk}"
            )
        if self.resize not in RESIZES:
            raise ValueError(
                f"MODEL.UNILSEG.TEST.RESIZE must be one of {RESIZES}, got '{self.resize}'"
            )


class Phrases(NamedTuple):
    """Features of T phrases from the text encoder.

    Args:
        words: f_w, (T, L, D).
        sentences: f_s, (T, D).
        is_word: (T, L) bool.
    """

    words: Tensor
    sentences: Tensor
    is_word: Tensor


class ImageFeatures(NamedTuple):
    """Features of the image encoder, and the queries that Pre-Fusion makes of them.

    Args:
        features: f_v, (B, C_i, h_i, w_i) each, finest first.
        questions: see `PreFusion.questions`.
    """

    features: Sequence[Tensor]
    questions: Dict[str, Tensor]

    def select(self, rows: Union[slice, Tensor]) -> "ImageFeatures":
        """Returns the features of some images; an index may repeat."""
        return ImageFeatures(
            [feature[rows] for feature in self.features],
            {name: questions[rows] for name, questions in self.questions.items()},
        )


@META_ARCH_REGISTRY.register()
class UniLSeg(nn.Module):
    """Language-prompted segmentation of any granularity.

    Args:
        image_encoder: images to four maps whose names sort from fine to coarse.
        text_encoder: phrases to words and sentences.
        normalizer: records to one padded batch.
        pre_fusion: words into the image's features.
        vision_path: fused features and words to the pixel map.
        language_path: the coarsest fused feature and the sentence to the query.
        criterion: responses and masks to losses.
        sampling: draws the training samples of an image.
        inference: options of the test results.
    """

    learns_from: FrozenSet[str] = frozenset({"instances"})
    answers: FrozenSet[str] = frozenset({"sem_seg", "phrase_masks"})

    @configurable
    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        text_encoder: TextEncoder,
        normalizer: ImageNormalizer,
        pre_fusion: PreFusion,
        vision_path: VisionPath,
        language_path: LanguagePath,
        criterion: ResponseLoss,
        sampling: Sampling,
        inference: Inference,
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.normalizer = normalizer
        self.pre_fusion = pre_fusion
        self.vision_path = vision_path
        self.language_path = language_path
        self.criterion = criterion
        self.sampling = sampling
        self.inference = inference
        self._encoded = RowCache(_PHRASE_BYTES)
        self._last: Tuple[tuple, Optional[Phrases]] = ((), None)  # of the latest list

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.UNILSEG, MODEL.CLIP, MODEL.PIXEL_MEAN and _STD, and TEST.

        Raises:
            ValueError: the vision path is not as wide as the words.
        """
        node, clip = cfg.MODEL.UNILSEG, cfg.MODEL.CLIP
        towers = load_clip(clip.NAME, clip.WEIGHTS)
        width = towers.text.width
        if width != node.CONV_DIM:
            raise ValueError(
                f"MODEL.UNILSEG.CONV_DIM is {node.CONV_DIM}, but the words of '{clip.NAME}' have "
                f"{width} channels; places and words look at each other, so set it to {width}"
            )
        image_encoder = build_image_encoder(cfg, towers)
        prompts = Prompts(node.PROMPTS, node.SYNONYMS)
        return {
            "image_encoder": image_encoder,
            "text_encoder": TextEncoder(
                towers, batch=clip.TEXT_BATCH, context_length=node.TEXT_LENGTH
            ),
            "normalizer": ImageNormalizer(
                *pixel_statistics(image_encoder, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD),
                batch_divisibility(image_encoder),
            ),
            **build_paths(cfg, image_encoder, towers),
            "criterion": ResponseLoss(
                bce_weight=node.BCE_WEIGHT,
                dice_weight=node.DICE_WEIGHT,
                bce_balance=node.BCE_BALANCE,
                deep_supervision=node.DEEP_SUPERVISION,
                at=node.LOSS_AT,
            ),
            "sampling": Sampling(
                prompts, per_image=node.TEXTS_PER_IMAGE, negative_prob=node.NEGATIVE_PROB
            ),
            "inference": Inference(
                threshold=node.TEST.THRESHOLD,
                chunk=node.TEST.PROMPT_CHUNK,
                resize=node.TEST.RESIZE,
                label_maps=cfg.TEST.LABEL_MAPS,
                background_threshold=cfg.TEST.BACKGROUND_THRESHOLD,
            ),
        }

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise.

        Args:
            records: one per image, from SegMapper: "image" (3, H, W) RGB 0-255; "task";
                "vocabulary", its name, or None and the "texts" themselves; in training "instances"
                with "gt_masks"; at test "height", "width" in pixels, and "image_box" where the
                image was padded.

        Returns:
            Training: losses, scalars. Test: per record with a vocabulary {"sem_seg"}, probabilities
            (K, height, width) or, with label maps, (height, width) int64 and "sem_seg_scores"
            (height, width), their probabilities; per record with texts {"phrase_masks"}, (T,
            height, width) bool, of salient objects float32 probabilities.

        Raises:
            ValueError: a record asks for nothing or for an empty phrase, or has no masks to learn.
        """
        if self.training:
            return self.losses(records)
        return self.answer(records)

    def losses(self, records: Sequence[dict]) -> Dict[str, Tensor]:
        """Returns the losses of `ResponseLoss`; without any phrase losses and gradients are 0."""
        samples = self.sampling(records)
        counts = 1.0 if samples else 0.0
        if not samples:
            nothing = torch.zeros(records[0]["image"].shape[-2:], dtype=torch.bool)
            samples = [Sample(image, "nothing", nothing) for image in (0, 0)]
        images = self.normalizer(list(records)).tensor
        rows = torch.tensor([sample.image for sample in samples], device=images.device)
        phrases = self.encode_phrases([sample.phrase for sample in samples])
        responses = self.respond(self.encode_images(images).select(rows), phrases)
        masks = padded_masks(samples, images.shape[-2:], images.device)
        return {name: counts * loss for name, loss in self.criterion(responses, masks).items()}

    def encode_images(self, images: Tensor) -> ImageFeatures:
        """Returns the features that all phrases share, of images (B, 3, H, W), normalised."""
        maps = self.image_encoder(images)
        features = [maps[name] for name in sorted(maps)]
        return ImageFeatures(features, self.pre_fusion.questions(features))

    def encode_phrases(self, phrases: Sequence[str]) -> Phrases:
        """Returns the features of T phrases from the text encoder."""
        features = self.text_encoder(phrases)
        return Phrases(features.tokens, features.pooled, features.is_token)

    def respond(self, image_features: ImageFeatures, phrases: Phrases) -> Tensor:
        """The response map (Eq. 6), after every decoder layer.

        Args:
            image_features: of T images, or of one image that T phrases ask about.
            phrases: T.

        Returns:
            (J, T, h, w) logits.
        """
        fused = self.pre_fusion(*image_features, phrases.words, phrases.is_word)
        pixels = self.vision_path(fused, phrases.words, phrases.is_word)
        queries = self.language_path(fused[-1], phrases.sentences)
        return torch.einsum("jtc,tchw->jthw", torch.stack(queries), pixels)

    @torch.no_grad()
    def answer(self, records: Sequence[dict]) -> List[dict]:
        """Returns the results that `forward` describes; each image is answered on its own."""
        phrase_groups = [PhraseGroups(self.ask(record)) for record in records]
        images = self.normalizer(list(records))
        image_features = self.encode_images(images.tensor)
        results = []
        for i, (record, groups, size) in enumerate(zip(records, phrase_groups, images.image_sizes)):
            placement = Placement(
                canvas=tuple(images.tensor.shape[-2:]),
                box=record.get("image_box", (0, 0, size[1], size[0])),
                size=(record["height"], record["width"]),
            )
            results.append(
                self._answer(record, groups, image_features.select(slice(i, i + 1)), placement)
            )
        return results

    def ask(self, record: dict) -> List[Tuple[str, ...]]:
        """Returns per class of the record's vocabulary, or per text, its phrases."""
        return self.sampling.prompts.of_record(record)

    def _answer(
        self,
        record: dict,
        groups: PhraseGroups,
        image_features: ImageFeatures,
        placement: Placement,
    ) -> dict:
        inference = self.inference
        encoded = self._cached_phrases(groups.distinct)
        place = {phrase: row for row, phrase in enumerate(groups.distinct)}

        def answer_chunk(phrases: List[str]) -> Tensor:
            rows = [place[phrase] for phrase in phrases]
            chunk = Phrases(*(part[rows] for part in encoded))
            return probabilities(
                self.respond(image_features, chunk)[-1], placement, inference.resize
            )

        def answer(phrases: List[str]) -> Tensor:
            return joined_chunks(answer_chunk, phrases)

        if record.get("vocabulary") is None:
            scores = score_map(groups, answer, inference.chunk)
            is_salient = record.get("task") == Task.SALIENT
            return {"phrase_masks": scores if is_salient else scores > inference.threshold}
        if not inference.label_maps:
            return {"sem_seg": score_map(groups, answer, inference.chunk)}
        labels, scores = best_classes(
            groups,
            answer,
            inference.chunk,
            none=get_vocabulary(record["vocabulary"]).none_index,
            threshold=inference.background_threshold,
        )
        return {"sem_seg": labels, "sem_seg_scores": scores}

    def _cached_phrases(self, phrases: Sequence[str]) -> Phrases:
        """Encodes each phrase once for as long as the text encoder's weights stay as they are."""
        place = (self.text_encoder.fingerprint(), self.text_encoder.device)
        key = (place, *phrases)
        if self._last[0] == key:
            return self._last[1]
        rows = {phrase: self._encoded.get((place, phrase)) for phrase in phrases}
        missing = [phrase for phrase, row in rows.items() if row is None]
        if missing:
            encoded = self.encode_phrases(missing)
            lengths = encoded.is_word.sum(dim=1).tolist()
            for row, (phrase, length) in enumerate(zip(missing, lengths)):
                rows[phrase] = (encoded.words[row, :length], encoded.sentences[row])
                self._encoded.put((place, phrase), *rows[phrase])
        words, sentences = zip(*(rows[phrase] for phrase in phrases))
        lengths = torch.tensor([len(states) for states in words])
        is_word = torch.arange(int(lengths.max())) < lengths[:, None]
        padded = nn.utils.rnn.pad_sequence(words, batch_first=True)
        self._last = (key, Phrases(padded, torch.stack(sentences), is_word.to(padded.device)))
        return self._last[1]

    def train(self, mode: bool = True) -> "UniLSeg":
        """Training changes the text encoder: encoded phrases are forgotten."""
        self._encoded.clear()
        self._last = ((), None)
        return super().train(mode)


def build_image_encoder(cfg: CfgNode, towers: ClipTowers) -> nn.Module:
    """Returns the Swin of MODEL.UNILSEG.SWIN, or the backbone that MODEL.UNILSEG.BACKBONE names.

    Raises:
        ValueError: an unknown name, or weights of a backbone that is not built.
    """
    backbone, swin = cfg.MODEL.UNILSEG.BACKBONE, cfg.MODEL.UNILSEG.SWIN
    is_swin = backbone.NAME == "swin"
    unused = backbone.WEIGHTS if is_swin else swin.WEIGHTS
    if unused:
        keys = ("BACKBONE", "SWIN") if is_swin else ("SWIN", "BACKBONE")
        raise ValueError(
            f"MODEL.UNILSEG.{keys[0]}.WEIGHTS is '{unused}', but the backbone is "
            f"'{backbone.NAME}', whose weights are MODEL.UNILSEG.{keys[1]}.WEIGHTS"
        )
    if not is_swin:
        return named_backbone(backbone, "MODEL.UNILSEG.BACKBONE", towers=towers, own=["swin"])
    return build_swin(
        embed_dim=swin.EMBED_DIM,
        depths=swin.DEPTHS,
        num_heads=swin.NUM_HEADS,
        window_size=swin.WINDOW_SIZE,
        patch_size=swin.PATCH_SIZE,
        drop_path=swin.DROP_PATH,
        weights=swin.WEIGHTS,
    )


def batch_divisibility(image_encoder: nn.Module) -> int:
    """Returns the number that both sides of a batch must be multiples of, in pixels."""
    strides = [shape.stride for shape in image_encoder.output_shape().values()]
    # A Swin pads odd grids itself. Some models of timm cut them off, so that their coarse maps show
    # less than the image, and refuse an image smaller than their last stride.
    return min(strides) if isinstance(image_encoder, SwinTransformer) else max(strides)


def build_paths(cfg: CfgNode, image_encoder: nn.Module, towers: ClipTowers) -> Dict[str, nn.Module]:
    """Returns "pre_fusion", "vision_path" and "language_path", as MODEL.UNILSEG describes them."""
    node = cfg.MODEL.UNILSEG
    channels = [shape.channels for _, shape in sorted(image_encoder.output_shape().items())]
    shared = {"heads": node.NHEADS, "dropout": node.DROPOUT}
    return {
        "pre_fusion": PreFusion(
            channels,
            scales=node.PREFUSION_SCALES if node.PREFUSION else [],
            text_width=towers.text.width,
            **shared,
        ),
        "vision_path": VisionPath(
            channels,
            width=node.CONV_DIM,
            mask_dim=node.MASK_DIM,
            hidden=node.DIM_FEEDFORWARD,
            ratios=node.SR_RATIOS,
            norm=node.NORM,
            text_length=node.TEXT_LENGTH,
            attend=node.VISION_PATH,
            **shared,
        ),
        "language_path": LanguagePath(
            channels[-1],
            text_dim=towers.embed_dim,
            query_dim=node.MASK_DIM,
            layers=node.DEC_LAYERS if node.LANGUAGE_PATH else 0,
            hidden=node.DIM_FEEDFORWARD,
            norm=node.NORM,
            **shared,
        ),
    }
