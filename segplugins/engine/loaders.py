"""Data loaders for training and evaluation, from a config."""

import logging
from pathlib import Path
from typing import List, Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_test_loader
from detectron2.utils import comm
from torch.utils.data import DataLoader

from segplugins.data.catalog import dataset_metadata, load_dataset
from segplugins.data.check import SkipFaults
from segplugins.data.check.load import POLICIES
from segplugins.data.mapper import SegMapper
from segplugins.data.missing_files import check_files
from segplugins.data.pairs import PairMapper, PairSamples, is_pairs, load_pairs
from segplugins.data.sampling import sampler_maker, training_records
from segplugins.engine.stream import TrainingStream
from segplugins.files.faults import STRICT, Skip
from segplugins.files.vocabularies import parse_vocabulary
from segplugins.structures import register_vocabulary

logger = logging.getLogger(__name__)

_NAMED = 5  # faulty shards that the log names


def build_train_loader(cfg: CfgNode) -> DataLoader:
    """Builds the endless loader of DATASETS.TRAIN: labelled images, or image-text pairs.

    Returns:
        Gives micro-batches of this process: lists of IMS_PER_BATCH / (ACCUMULATE * processes)
        records. Its `dataset.seek(seed, sample)` makes it start elsewhere.

    Raises:
        KeyError: an unknown data set.
        ValueError: no data set, a batch that cannot be divided, a key that is not supported, or
            faults of the data under DATALOADER.FAULTS strict.
    """
    names = check_datasets(cfg.DATASETS.TRAIN, key="DATASETS.TRAIN")
    _check_fixed_keys(cfg)
    batch_size = micro_batch_size(
        cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE, comm.get_world_size()
    )
    policy = cfg.DATALOADER.FAULTS
    if is_pairs(names):
        mapper = PairMapper.from_config(cfg, names)
        dataset = _load_pairs(cfg, names)
        sizes, orders = dataset.sizes, dataset.orders
    else:
        records, sizes = training_records(names, cfg.DATASETS.EXCLUDE, policy)
        if policy == "strict":
            check_files(records)
        dataset, orders = DatasetFromList(records, copy=False), None
        mapper = SegMapper(cfg, is_train=True, dataset_names=names)
    stream = TrainingStream(
        dataset,
        SkipFaults(mapper, cfg.OUTPUT_DIR) if policy == "skip" else mapper,
        sampler_maker(cfg, sizes, orders),
        batch_size=batch_size,
        seed=max(cfg.SEED, 0),
        sizes=sizes,
    )
    return DataLoader(
        stream,
        batch_size=batch_size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda"),  # then copies to the GPU need not wait
    )


def _load_pairs(cfg: CfgNode, names: Sequence[str]) -> PairSamples:
    """Finds the samples of image-text sets; faults of shards stop, or are counted in the log."""
    if cfg.DATALOADER.FAULTS not in POLICIES:
        raise ValueError(
            f"DATALOADER.FAULTS is '{cfg.DATALOADER.FAULTS}', expected one of {POLICIES}"
        )
    policy = STRICT if cfg.DATALOADER.FAULTS == "strict" else Skip()
    dataset = load_pairs(names, Path(cfg.OUTPUT_DIR) / "pairs_index", policy)
    if policy is not STRICT and policy.counts:
        first = "; ".join(str(fault) for fault in policy.first[:_NAMED])
        logger.warning(
            "DATALOADER.FAULTS skip: %d shards are damaged or empty, their whole samples are used: "
            "%s",
            sum(policy.counts.values()),
            first,
        )
    logger.info("%d image-text samples in %d sets", len(dataset), len(names))
    return dataset


def _check_fixed_keys(cfg: CfgNode) -> None:
    """Refuses values of detectron2's keys that would change the samples behind the stream's back,
    so that no run could be resumed where it was."""
    node = cfg.DATALOADER
    for key, value, only, why in (
        ("ASPECT_RATIO_GROUPING", node.ASPECT_RATIO_GROUPING, False, "it would hold images back"),
        (
            "FILTER_EMPTY_ANNOTATIONS",
            node.FILTER_EMPTY_ANNOTATIONS,
            False,
            "an image without regions is a sample as well",
        ),
        (
            "SAMPLER_TRAIN",
            node.SAMPLER_TRAIN,
            "TrainingSampler",
            "DATALOADER.MIXING weighs data sets",
        ),
    ):
        if value != only:
            raise ValueError(f"DATALOADER.{key} must be {only}: {why}")


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Builds the loader that gives each image of a data set once, shared among the processes.

    Its records carry the vocabulary of TEST.VOCABULARY, if there is one, instead of the data set's
    own; sets of free text keep their texts.

    Raises:
        KeyError: an unknown data set.
        ValueError: TEST.VOCABULARY is none.
    """
    records = load_dataset(dataset_name)
    if cfg.TEST.VOCABULARY and dataset_metadata(dataset_name).vocabulary is not None:
        vocabulary = parse_vocabulary(cfg.TEST.VOCABULARY)
        register_vocabulary(vocabulary)
        records = [{**record, "vocabulary": vocabulary.name} for record in records]
    return build_detection_test_loader(
        records,
        mapper=SegMapper(cfg, is_train=False, dataset_names=[dataset_name]),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def check_datasets(names: Sequence[str], *, key: str) -> List[str]:
    """Returns the names as a list.

    Raises:
        ValueError: there is none.
        KeyError: one is not registered; the message tells the nearest.
    """
    if not names:
        raise ValueError(f"{key} is empty: name at least one registered data set")
    for name in names:
        dataset_metadata(name)
    return list(names)


def micro_batch_size(images_per_step: int, accumulate: int, processes: int) -> int:
    """Returns the images that a process reads at once.

    Raises:
        ValueError: the images of a step cannot be divided evenly.
    """
    parts = accumulate * processes
    if accumulate < 1 or images_per_step < 1 or images_per_step % parts:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH {images_per_step} must be a positive multiple of "
            f"SOLVER.ACCUMULATE {accumulate} x {processes} processes"
        )
    return images_per_step // parts


def _as_list(records: List[dict]) -> List[dict]:
    return records
