"""ClipSegmentor: a CLIP adapted to dense tasks, with FC-CLIP's head (Sec. 4.2 and 5.1).

Reading order: an image tower towers.py, frozen but for its adapters convpass.py; the maps of a
ViT's last block as a simple pyramid; the shared pixel decoder; queries to masks and class
embeddings mask_decoder.py, which are compared with the texts of each image; matching and losses
criterion.py. At test the frozen CLIP pools its own features under the masks and has its word
ensemble.py; results.py turns both into results. FC-CLIP is this model with a frozen ConvNeXt.

B images, Q queries, K classes of an image, C width of the tower, E width of the text space.
"""

from typing import Dict, FrozenSet, List, Optional, Sequence, Tuple, Union

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, SimpleFeaturePyramid
from torch import Tensor, nn

from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.costs import mask_bce_cost, mask_dice_cost, softmax_class_cost
from segplugins.modeling.criterion import MaskTerm, SetCriterion, SoftmaxClassTerm
from segplugins.modeling.dense_convnext import STAGES
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.matcher import HungarianMatcher
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.modeling.pixel_decoder import DeformablePixelDecoder, PixelFeatures
from segplugins.modeling.postprocess import MaskResizer
from segplugins.modeling.similarity import ImageCells, word_similarity
from segplugins.structures import Vocabulary
from segplugins.structures.predictions import QueryPredictions, record_targets
from segplugins.structures.vocabulary import record_vocabulary

from .build import build_classifier, build_tower_options, build_towers
from .ensemble import ensemble_log_probabilities, mask_pool, pooling_masks
from .mask_decoder import ClassTexts, MaskDecoder, class_logits
from .results import Inference
from .seen import SeenWords
from .towers import Tower, build_tower, keep_frozen_in_evaluation
from .vit_tower import DenseOutput, VitTower

OUTSIDE = ("frozen", "adapted", "none")
_PYRAMID = ("p2", "p3", "p4", "p5")


@META_ARCH_REGISTRY.register()
class ClipSegmentor(nn.Module):
    """Panoptic segments, instances and label scores under any vocabulary.

    Args:
        tower: image tower of a CLIP.
        pyramid: of a ViT's last map; None where the tower gives maps of four strides.
        normalizer: records to one padded batch.
        classifier: embeds texts under templates; it holds the text encoder, which is frozen.
        pixel_decoder: maps to refined levels, coarsest first, and mask features.
        decoder: queries to predictions.
        criterion: matching and losses.
        outside: whose features are pooled under the masks at test: of the "frozen" tower, which is
            run once more without adapters; of the "adapted" one; "none" = the trained head alone.
        ensemble: factors (alpha, beta) of that second opinion for seen and other classes, and
            whether a query without a cell in its mask leaves it out.
        seen: which classes were trained.
        inference: options of the results.

    Raises:
        ValueError: an unknown value of `outside`.
    """

    learns_from: FrozenSet[str] = frozenset({"instances"})
    answers: FrozenSet[str] = frozenset({"sem_seg", "instances", "panoptic_seg"})

    @configurable
    def __init__(
        self,
        *,
        tower: Tower,
        pyramid: Optional[nn.Module],
        normalizer: ImageNormalizer,
        classifier: VocabularyClassifier,
        pixel_decoder: DeformablePixelDecoder,
        decoder: MaskDecoder,
        criterion: SetCriterion,
        outside: str,
        ensemble: Tuple[float, float, bool],
        seen: SeenWords,
        inference: Inference,
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        if outside not in OUTSIDE:
            raise ValueError(
                f"MODEL.UMG_CLIP.DENSE.OUTSIDE must be one of {OUTSIDE}, got '{outside}'"
            )
        self.tower = tower
        self.pyramid = pyramid
        self.normalizer = normalizer
        self.classifier = classifier
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        # "No object", beside the classes of every image.
        self.void = nn.Embedding(1, classifier.text_encoder.embed_dim)
        self.criterion = criterion
        self.outside = outside
        self.alpha, self.beta, self.only_valid = ensemble
        self.seen = seen
        self.inference = inference
        self.tower_is_trained = _freeze_ends(tower)
        self.train(self.training)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.CLIP, MODEL.UMG_CLIP, DATASETS.TRAIN and TEST.LABEL_MAPS."""
        node = cfg.MODEL.UMG_CLIP.DENSE
        towers = build_towers(cfg)
        options = build_tower_options(cfg)
        tower = build_tower(towers, options)
        if options.trained == "all" and node.OUTSIDE == "frozen":
            raise ValueError(
                "MODEL.UMG_CLIP.TOWER.TRAINED is 'all': no frozen CLIP is left for "
                "MODEL.UMG_CLIP.DENSE.OUTSIDE 'frozen'; set it to 'adapted' or 'none'"
            )
        # A checkpoint replaces the projection: it was trained under this very check.
        if tower.is_projection_new and node.OUTSIDE != "none" and not cfg.MODEL.WEIGHTS:
            raise ValueError(
                f"MODEL.UMG_CLIP.DENSE.OUTSIDE is '{node.OUTSIDE}', but the image tower "
                f"'{cfg.MODEL.UMG_CLIP.TOWER.NAME}' shares no space with the texts: what is pooled "
                "from it names nothing; set it to 'none'"
            )
        vit = isinstance(tower, VitTower)
        pyramid = SimpleFeaturePyramid(
            _LastMap(tower.width), "last", node.HIDDEN_DIM, (4.0, 2.0, 1.0, 0.5)
        ) if vit else None  # fmt: skip
        return {
            "tower": tower,
            "pyramid": pyramid,
            "normalizer": ImageNormalizer.of_clip(towers, tower.size_divisibility * (1 + vit)),
            "classifier": build_classifier(cfg, towers, synonyms="max", trained=False),
            "pixel_decoder": build_pixel_decoder(cfg, tower),
            "decoder": MaskDecoder(
                width=node.HIDDEN_DIM,
                queries=node.QUERIES,
                layers=node.DEC_LAYERS,
                levels=3,
                heads=node.NHEADS,
                feed_forward=node.DIM_FEEDFORWARD,
                text_width=towers.embed_dim,
            ),
            "criterion": build_criterion(cfg),
            "outside": node.OUTSIDE,
            "ensemble": (node.ALPHA, node.BETA, node.ONLY_VALID),
            "seen": SeenWords(node.SEEN or cfg.DATASETS.TRAIN, check=bool(node.SEEN)),
            "inference": Inference(
                topk=node.TEST.TOPK,
                score_threshold=node.TEST.SCORE_THRESHOLD,
                overlap_threshold=node.TEST.OVERLAP_THRESHOLD,
                mask_chunk=node.TEST.MASK_CHUNK,
                label_maps=cfg.TEST.LABEL_MAPS,
            ),
        }

    def train(self, mode: bool = True) -> "ClipSegmentor":
        """A frozen tower stays in evaluation mode, all but its adapters."""
        super().train(mode)
        keep_frozen_in_evaluation(self.tower)
        return self

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise.

        Args:
            records: one per image, from SegMapper: "image" (3, H, W) RGB 0-255; "vocabulary", its
                name, or "texts"; in training "instances" with "gt_masks"; at test "task", "height",
                "width" in pixels, and "image_box" where the image was padded.

        Returns:
            Training: losses, scalars. Test, by the record's task: {"sem_seg"} (K, height, width);
            {"instances"}; or {"panoptic_seg", "instances", "sem_seg"}.
        """
        images = self.normalizer(records)
        vocabularies = [record_vocabulary(record) for record in records]
        texts = self.class_texts(vocabularies)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tower_is_trained):
            output = self.tower.dense(images.tensor)
        predictions = self.decoder(self.features(output), texts, self.void.weight)
        padded = tuple(images.tensor.shape[-2:])
        if self.training:
            return self.losses(predictions, records, padded)
        outside = self.outside_logits(images.tensor, output, predictions, texts)
        results = []
        for index, (record, vocabulary) in enumerate(zip(records, vocabularies)):
            scores = self.combined(predictions, outside, index, vocabulary)
            size = images.image_sizes[index]
            resize = MaskResizer.of_record(record, padded, size, self.inference.mask_chunk)
            masks = predictions.mask_logits[index]
            results.append(self.inference.answer(scores, masks, record, resize))
        return results

    @torch.no_grad()
    def word_similarity(self, records: Sequence[dict]) -> List[Tensor]:
        """Returns per image (K, height, width) cosines of words and cells of the CLIP at test.

        Raises:
            ValueError: the image tower is no CLIP's.
        """
        if self.tower.is_projection_new and self.outside == "none":
            raise ValueError(
                "the image tower of this model (MODEL.UMG_CLIP.TOWER.NAME) shares no space with "
                "its texts, so words are like no place of a picture; ask with --vocabulary"
            )
        images = self.normalizer(records)
        last = self.tower.dense(images.tensor, adapted=self.outside != "frozen").last
        cells = self.tower.project(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        cells = ImageCells(cells, images.image_sizes, tuple(images.tensor.shape[-2:]))
        return word_similarity(cells, records, self.classifier)

    def class_texts(self, vocabularies: Sequence[Vocabulary]) -> ClassTexts:
        """Returns a row for each synonym of the classes of each image, on the model's device."""
        rows = [self.classifier.embed(vocabulary) for vocabulary in vocabularies]
        device = self.void.weight.device
        return ClassTexts(
            [part.to(device, non_blocking=True) for part in rows],
            [[len(synonyms) for synonyms in v.synonyms] for v in vocabularies],
        )

    def features(self, output: DenseOutput) -> PixelFeatures:
        """Returns refined levels, coarsest first, and mask features."""
        if self.pyramid is None:
            return self.pixel_decoder(output.maps)
        maps = self.pyramid(output.maps)
        return self.pixel_decoder({name: maps[key] for name, key in zip(STAGES, _PYRAMID)})

    def losses(
        self, predictions: QueryPredictions, records: Sequence[dict], padded: Sequence[int]
    ) -> Dict[str, Tensor]:
        """Returns the weighted losses of all layers.

        Raises:
            ValueError: a record has no "instances", or boxes alone.
        """
        targets = record_targets(records, padded, predictions.class_logits.device)
        for target, record in zip(targets, records):
            if target.masks is None and len(target):
                raise ValueError(
                    f"image {record.get('file_name', '?')} has boxes without masks, but masks are "
                    "what is matched and learned; leave sets of boxes out of DATASETS.TRAIN"
                )
        return self.criterion(predictions, targets)

    def outside_logits(
        self, images: Tensor, output: DenseOutput, predictions: QueryPredictions, texts: ClassTexts
    ) -> Optional[Tuple[Tensor, Tensor]]:
        """Returns (B, Q, K + 1) logits of features pooled under the masks, and (B, Q) bool, whether
        a mask has a cell; None without a second opinion.

        Args:
            images: (B, 3, H, W), normalised.
            output: of the adapted tower.
            predictions: of the last layer.
            texts: of each image.
        """
        if self.outside == "none":
            return None
        last = output.last
        if self.outside == "frozen" and self.tower.adapters is not None:
            last = self.tower.dense(images, adapted=False).last
        masks = predictions.mask_logits
        vectors = self.tower.project(mask_pool(last.float(), masks))
        valid = pooling_masks(masks, last.shape[-2:]).flatten(2).any(dim=2)
        scale = self.classifier.scale().float()
        return class_logits(vectors.float(), texts, self.void.weight, scale), valid

    def combined(
        self,
        predictions: QueryPredictions,
        outside: Optional[Tuple[Tensor, Tensor]],
        index: int,
        vocabulary: Vocabulary,
    ) -> Tensor:
        """Returns (Q, K + 1) log-probabilities of one image, "no object" last."""
        inside = _own_classes(predictions.class_logits[index], len(vocabulary)).float()
        if outside is None:
            return inside.log_softmax(dim=-1)
        logits, valid = outside
        return ensemble_log_probabilities(
            inside,
            _own_classes(logits[index], len(vocabulary)),
            self.seen.of_vocabulary(vocabulary, inside.device),
            alpha=self.alpha,
            beta=self.beta,
            valid=valid[index] if self.only_valid else None,
        )


class _LastMap(Backbone):
    """Gives detectron2's pyramid the last map of a ViT, at the nominal stride of 16.

    A patch of 14 has no strides that are powers of 2; nothing reads the true ones.
    """

    def __init__(self, channels: int):
        super().__init__()
        self._shape = ShapeSpec(channels=channels, stride=16)

    def output_shape(self) -> Dict[str, ShapeSpec]:
        return {"last": self._shape}

    def forward(self, maps: Dict[str, Tensor]) -> Dict[str, Tensor]:
        return maps


def _freeze_ends(tower: Tower) -> bool:
    """Freezes what stands behind the maps, where no loss reaches; returns whether any is left."""
    for name, parameter in tower.named_parameters():
        if name.startswith(tower.ends):
            parameter.requires_grad_(False)
    return any(parameter.requires_grad for parameter in tower.parameters())


def _own_classes(logits: Tensor, classes: int) -> Tensor:
    """Returns (Q, K + 1): the logits of an image's own classes and of "no object"."""
    return torch.cat([logits[:, :classes], logits[:, -1:]], dim=1)


def build_pixel_decoder(cfg: CfgNode, tower: Tower) -> DeformablePixelDecoder:
    """Returns the pixel decoder of MODEL.UMG_CLIP.DENSE.ENCODER, over the maps of a tower."""
    node, encoder = cfg.MODEL.UMG_CLIP.DENSE, cfg.MODEL.UMG_CLIP.DENSE.ENCODER
    if isinstance(tower, VitTower):
        channels = dict.fromkeys(STAGES, node.HIDDEN_DIM)
    else:
        channels = {name: shape.channels for name, shape in tower.output_shape().items()}
    return DeformablePixelDecoder(
        channels,
        finest="res2",
        refined=("res3", "res4", "res5"),
        extra_levels=0,
        width=node.HIDDEN_DIM,
        mask_width=node.HIDDEN_DIM,
        layers=encoder.LAYERS,
        feed_forward=encoder.DIM_FEEDFORWARD,
        heads=node.NHEADS,
        points=encoder.POINTS,
        order="coarse_to_fine",
        backend=encoder.BACKEND,
        checkpoint=encoder.CHECKPOINT,
    )


def build_criterion(cfg: CfgNode) -> SetCriterion:
    """Returns matching and losses, whose costs and weights are MODEL.UMG_CLIP.DENSE.LOSS."""
    loss = cfg.MODEL.UMG_CLIP.DENSE.LOSS
    matcher = HungarianMatcher(
        {
            "class": (loss.CLASS, softmax_class_cost),
            "mask": (loss.MASK, mask_bce_cost),
            "dice": (loss.DICE, mask_dice_cost),
        },
        num_points=loss.POINTS,
    )
    terms = [
        SoftmaxClassTerm(no_object_weight=loss.NO_OBJECT),
        MaskTerm(num_points=loss.POINTS, oversample=loss.OVERSAMPLE, importance=loss.IMPORTANCE),
    ]
    weights = {"loss_class": loss.CLASS, "loss_mask": loss.MASK, "loss_dice": loss.DICE}
    return SetCriterion(matcher, terms, weights)
