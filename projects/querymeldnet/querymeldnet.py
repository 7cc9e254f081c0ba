"""QueryMeldNet: one model for many data sets and tasks, by queries of two kinds that are melded.

Paper: "Scaling up image segmentation across data and tasks". No official code is known; open
details follow Mask DINO, whose checkpoints load. Reading order: a backbone, the shared
pixel decoder, the texts of each image texts.py, learnable and conditional queries queries.py,
their meld meld.py in the decoder decoder.py, the class head heads.py (Sec. 3.2). Training matches
the union of both kinds without looking at the kind, and denoises noised targets denoising.py
(Sec. 3.3). results.py turns predictions into results.

B images, Q queries, K texts, H W pixels.
"""

from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Union

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from segplugins.clip import ClipTowers, load_clip
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.costs import (
    box_giou_cost,
    box_l1_cost,
    focal_class_cost,
    mask_bce_cost,
    mask_dice_cost,
)
from segplugins.modeling.criterion import BoxTerm, FocalClassTerm, MaskTerm, SetCriterion
from segplugins.modeling.finite import FiniteWeights
from segplugins.modeling.matcher import HungarianMatcher
from segplugins.modeling.named_backbone import named_backbone, pixel_statistics
from segplugins.modeling.normalizer import ImageNormalizer
from segplugins.modeling.pixel_decoder import DeformablePixelDecoder, PixelFeatures
from segplugins.modeling.postprocess import MaskResizer, binary_masks, padded_boxes
from segplugins.modeling.swin import build_swin
from segplugins.structures.predictions import record_targets
from segplugins.text import TextEncoder, template_set

from .box_prompts import prompt_content, prompt_queries
from .decoder import DecoderOutput, MeldDecoder, build_layers
from .denoising import Denoising
from .heads import TextClassHead
from .meld import MELDS
from .queries import ConditionalQueries, LearnableQueries
from .results import Inference
from .selection import SelectionEvaluator, build_selection
from .texts import TextBatch, is_named, test_texts, training_texts

QUERY_MODES = ("meld", "learnable", "conditional")
_SWINS = {
    "swin_t": {
        "embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "window_size": 7,
    },
    "swin_b": {
        "embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "window_size": 12,
    },
    "swin_l": {
        "embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48), "window_size": 12,
    },
}  # fmt: skip


@META_ARCH_REGISTRY.register()
class QueryMeldNet(nn.Module):
    """Instances, panoptic segments, label scores and phrase masks from one set of queries.

    Args:
        backbone: images to maps by name.
        normalizer: records to one padded batch.
        classifier: embeds texts under templates; it holds the text encoder.
        class_head: queries against texts.
        pixel_decoder: backbone maps to refined levels and mask features.
        decoder: queries to predictions.
        label_projection: texts to the content of denoising queries.
        criterion: matching and losses.
        denoising: how targets are noised.
        inference: options of the test results.
    """

    learns_from: FrozenSet[str] = frozenset({"instances"})
    answers: FrozenSet[str] = frozenset({"sem_seg", "instances", "panoptic_seg", "phrase_masks"})

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        normalizer: ImageNormalizer,
        classifier: VocabularyClassifier,
        class_head: TextClassHead,
        pixel_decoder: DeformablePixelDecoder,
        decoder: MeldDecoder,
        label_projection: nn.Linear,
        criterion: SetCriterion,
        denoising: Denoising,
        inference: Inference,
    ):
        super().__init__()
        self.register_forward_pre_hook(FiniteWeights())
        self.backbone = backbone
        self.normalizer = normalizer
        self.classifier = classifier
        self.class_head = class_head
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.label_projection = label_projection
        self.criterion = criterion
        self.denoising = denoising
        self.inference = inference

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict:
        """Reads MODEL.QMN, MODEL.CLIP, MODEL.PIXEL_MEAN and _STD, and TEST.LABEL_MAPS."""
        node, clip = cfg.MODEL.QMN, cfg.MODEL.CLIP
        towers = load_clip(clip.NAME, clip.WEIGHTS)
        backbone = build_backbone(cfg, towers)
        denoising = Denoising(
            count=node.DN.NUM,
            box_noise=node.DN.NOISE_SCALE,
            label_noise=node.DN.LABEL_NOISE,
            contrastive=node.DN.CONTRASTIVE,
            pad_negatives=node.DN.PAD_NEGATIVES,
        )
        label_projection = nn.Linear(towers.embed_dim, node.HIDDEN_DIM, bias=False)
        nn.init.trunc_normal_(label_projection.weight, std=0.02)
        label_projection.requires_grad_(denoising.count > 0)
        return {
            "backbone": backbone,
            "normalizer": ImageNormalizer(
                *pixel_statistics(backbone, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD),
                max(shape.stride for shape in backbone.output_shape().values()),
            ),
            "classifier": VocabularyClassifier(
                TextEncoder(towers, batch=clip.TEXT_BATCH),
                temperature=1.0,
                templates=template_set(clip.TEMPLATES),
                synonyms="max",
                frozen_text=not node.TEXT.TRAINABLE,
            ),
            "class_head": TextClassHead(
                node.HIDDEN_DIM, towers.embed_dim, scale=node.TEXT.SCALE, bias=node.TEXT.BIAS
            ),
            "pixel_decoder": build_pixel_decoder(cfg, backbone),
            "decoder": build_decoder(cfg),
            "label_projection": label_projection,
            "criterion": build_criterion(cfg),
            "denoising": denoising,
            "inference": Inference(
                topk=node.TEST.TOPK,
                score_threshold=node.TEST.SCORE_THRESHOLD,
                overlap_threshold=node.TEST.OVERLAP_THRESHOLD,
                temperature=node.TEST.TEMPERATURE,
                mask_chunk=node.TEST.MASK_CHUNK,
                label_maps=cfg.TEST.LABEL_MAPS,
            ),
        }

    def forward(self, records: List[dict]) -> Union[Dict[str, Tensor], List[dict]]:
        """Detectron2's contract: losses in training, results otherwise.

        Args:
            records: one per image, from SegMapper: "image" (3, H, W) RGB 0-255; "task";
                "vocabulary", its name, or None and the "texts" themselves; in training "instances",
                with "gt_masks" unless the image has boxes alone, and "ignore_negative"; at test
                "height", "width" in pixels, and "image_box" where the image was padded.

        Returns:
            Training: losses, scalars. Test, by the record's task: {"sem_seg"} (K, height, width);
            {"instances"}; {"panoptic_seg", "instances", "sem_seg"}; or {"phrase_masks"} (T, height,
            width), bool, or probabilities of salient objects.
        """
        images = self.normalizer(records)
        features = self.encode(images.tensor)
        if self.training:
            return self.losses(features, records, tuple(images.tensor.shape[-2:]))
        texts = test_texts(records, self.classifier)
        predictions = self.predict(features, texts).predictions
        padded = tuple(images.tensor.shape[-2:])
        return self.inference.answer(predictions, records, texts.counts, images.image_sizes, padded)

    def further_evaluator(self, dataset_name: str, output_dir: str) -> Optional[SelectionEvaluator]:
        """Returns what counts the kinds of selected queries on a panoptic set; None on others."""
        table = self.decoder.learnable
        learnable = 0 if table is None else table.content.num_embeddings
        return build_selection(dataset_name, learnable=learnable, output_dir=output_dir)

    def encode(self, images: Tensor) -> PixelFeatures:
        """Returns refined levels and mask features of (B, 3, H, W), normalised."""
        return self.pixel_decoder(map_names(self.backbone, self.backbone(images)))

    def predict(self, features: PixelFeatures, texts: TextBatch, **noised) -> DecoderOutput:
        """Returns the decoder's predictions against the texts of each image."""
        head = self.class_head.against(texts.embedding)
        return self.decoder(features, head, text_mask=texts.mask, **noised)

    def box_masks(self, records: List[dict]) -> List[Dict[str, Tensor]]:
        """Returns the mask of what each box of an image shows; see box_prompts.py.

        Args:
            records: one per image, as for a test; besides "prompt_boxes" (N, 4) corners in pixels
                of the result. "vocabulary" or "texts" are the classes that objects may be of.

        Returns:
            One per image: "masks" (N, height, width) bool and "scores" (N,), their mean
            probability.

        Raises:
            ValueError: the model was trained without denoising and has no such queries.
        """
        if not self.denoising.count:
            raise ValueError(
                "MODEL.QMN.DN.NUM is 0: a model that was trained without denoising queries answers "
                "no boxes"
            )
        images = self.normalizer(records)
        padded = tuple(images.tensor.shape[-2:])
        texts = test_texts(records, self.classifier)
        resizers = [
            MaskResizer.of_record(record, padded, size, self.inference.mask_chunk)
            for record, size in zip(records, images.image_sizes)
        ]
        boxes = [
            padded_boxes(torch.as_tensor(record["prompt_boxes"]).to(images.tensor), resize)
            for record, resize in zip(records, resizers)
        ]
        content = prompt_content(texts, self.label_projection.weight.T)
        prompts = prompt_queries(boxes, content)
        if not prompts.groups:
            shapes = [(0, *resize.result) for resize in resizers]
            empty = images.tensor.new_zeros
            return [{"masks": empty(each, dtype=torch.bool), "scores": empty(0)} for each in shapes]
        answer = self.predict(self.encode(images.tensor), texts, noised=prompts).noised
        results = []
        for logits, its, resize in zip(answer.mask_logits, boxes, resizers):
            masks, scores = binary_masks(logits[: len(its)], resize)
            results.append({"masks": masks, "scores": scores})
        return results

    def losses(
        self, features: PixelFeatures, records: Sequence[dict], padded: Sequence[int]
    ) -> Dict[str, Tensor]:
        """Returns weighted losses of all heads, matched and denoised.

        Args:
            features: of the batch.
            records: B, with targets.
            padded: height and width of the batch.

        Raises:
            ValueError: a record has no "instances", or none of the texts that it asks for.
        """
        targets = record_targets(records, padded, features.mask_features.device)
        texts = training_texts(records, self.classifier)
        for target, first in zip(targets, texts.first):
            if first is not None:
                table = torch.tensor(first).to(target.labels.device, non_blocking=True)
                target.labels = table[target.labels]
        noised = None
        if self.denoising.count:
            noised = self.denoising(
                targets,
                texts.embedding,
                texts.mask,
                self.label_projection.weight.T,
                [is_named(record) for record in records],
            )
        output = self.predict(features, texts, noised=noised)
        losses = self.criterion(output.predictions, targets)
        if noised is not None:
            matches = dict.fromkeys(output.noised.heads, noised.match)
            losses |= self.criterion.matched_losses(
                output.noised, targets, matches, repeats=noised.groups, suffix="_dn"
            )
        return losses


def map_names(backbone: nn.Module, maps: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Returns backbone maps as "res2" (stride 4) to "res5" (stride 32)."""
    shapes = backbone.output_shape()
    return {f"res{shapes[name].stride.bit_length() - 1}": maps[name] for name in shapes}


def build_backbone(cfg: CfgNode, towers: ClipTowers) -> nn.Module:
    """Returns the backbone of MODEL.QMN.BACKBONE.

    Raises:
        ValueError: an unknown name, or weights where they are not read.
    """
    node = cfg.MODEL.QMN.BACKBONE
    if node.NAME not in _SWINS:
        return named_backbone(node, "MODEL.QMN.BACKBONE", towers=towers, own=sorted(_SWINS))
    options = _SWINS[node.NAME]
    return build_swin(**options, patch_size=4, drop_path=node.DROP_PATH, weights=node.WEIGHTS)


def build_pixel_decoder(cfg: CfgNode, backbone: nn.Module) -> DeformablePixelDecoder:
    """Returns the pixel decoder of MODEL.QMN.ENCODER."""
    node, encoder = cfg.MODEL.QMN, cfg.MODEL.QMN.ENCODER
    shapes = backbone.output_shape().values()
    channels = {f"res{shape.stride.bit_length() - 1}": shape.channels for shape in shapes}
    return DeformablePixelDecoder(
        channels,
        finest="res2",
        refined=encoder.REFINED,
        extra_levels=encoder.EXTRA_LEVELS,
        width=node.HIDDEN_DIM,
        mask_width=encoder.MASK_DIM,
        layers=encoder.LAYERS,
        feed_forward=encoder.DIM_FEEDFORWARD,
        heads=node.NHEADS,
        points=encoder.POINTS,
        backend=encoder.BACKEND,
        checkpoint=encoder.CHECKPOINT,
    )


def build_decoder(cfg: CfgNode) -> MeldDecoder:
    """Returns the decoder of MODEL.QMN.

    Raises:
        ValueError: an unknown query mode or meld.
    """
    node = cfg.MODEL.QMN
    for key, value, choices in (
        ("QUERY_MODE", node.QUERY_MODE, QUERY_MODES),
        ("MELD.TYPE", node.MELD.TYPE, MELDS),
    ):
        if value not in choices:
            raise ValueError(f"MODEL.QMN.{key} must be one of {choices}, got '{value}'")
    total = node.NUM_LEARNABLE + node.NUM_CONDITIONAL
    learnable, conditional = {
        "meld": (node.NUM_LEARNABLE, node.NUM_CONDITIONAL),
        "learnable": (total, 0),
        "conditional": (0, total),
    }[node.QUERY_MODE]
    meld = node.MELD.TYPE if learnable and conditional else "joint"
    table: Optional[LearnableQueries] = None
    if learnable:
        table = LearnableQueries(learnable, node.HIDDEN_DIM)
    proposals: Optional[ConditionalQueries] = None
    if conditional:
        proposals = ConditionalQueries(
            conditional, node.HIDDEN_DIM, box_source=node.INITIALIZE_BOX_TYPE
        )
    layers = build_layers(
        node.DEC_LAYERS,
        node.HIDDEN_DIM,
        meld=meld,
        meld_heads=node.MELD.NHEADS,
        meld_gate=node.MELD.GATE_INIT,
        meld_shared=node.MELD.SHARE_DIRECTIONS,
        feed_forward=node.DIM_FEEDFORWARD,
        heads=node.NHEADS,
        dropout=node.DROPOUT,
        levels=len(node.ENCODER.REFINED) + node.ENCODER.EXTRA_LEVELS,
        points=node.POINTS,
    )
    return MeldDecoder(
        layers,
        width=node.HIDDEN_DIM,
        mask_width=node.ENCODER.MASK_DIM,
        learnable=table,
        conditional=proposals,
        meld=meld,
    )


def build_criterion(cfg: CfgNode) -> SetCriterion:
    """Returns matching and losses, whose costs and weights are MODEL.QMN.LOSS."""
    loss = cfg.MODEL.QMN.LOSS
    focal = {"alpha": loss.FOCAL_ALPHA, "gamma": loss.FOCAL_GAMMA}
    matcher = HungarianMatcher(
        {
            "class": (loss.CLASS, focal_class_cost(**focal)),
            "mask": (loss.MASK, mask_bce_cost),
            "dice": (loss.DICE, mask_dice_cost),
            "box": (loss.BOX, box_l1_cost),
            "giou": (loss.GIOU, box_giou_cost),
        },
        num_points=loss.POINTS,
    )
    mask_term = MaskTerm(
        num_points=loss.POINTS, oversample=loss.OVERSAMPLE, importance=loss.IMPORTANCE
    )
    weights = {
        "loss_class": loss.CLASS,
        "loss_box": loss.BOX,
        "loss_giou": loss.GIOU,
        "loss_mask": loss.MASK,
        "loss_dice": loss.DICE,
    }
    return SetCriterion(
        matcher,
        [FocalClassTerm(**focal), BoxTerm(), mask_term],
        weights,
        targets_per_image=loss.TARGETS_PER_IMAGE or None,
    )
