"""Image-text records from tar shards or JSON lines, shuffled, resumable, each read by one process.

A record is {"image": (3, H, W) uint8 RGB, "key", "captions": list of texts} and, where the source
has them, "tags": list of names and "regions": list of Region.
"""

import glob
import io
import itertools
import logging
import math
from functools import lru_cache
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.build import trivial_batch_collator
from detectron2.data.detection_utils import build_augmentation
from detectron2.utils import comm
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from segplugins.files.faults import FaultPolicy
from segplugins.structures.regions import Region, box_of_mask, check_box, encode_mask

from .catalog import ROOT_VARIABLE, dataset_root, register
from .draws import draws_of
from .shards import Entry, FaultySample, Sample, index_shard, read_sample

logger = logging.getLogger(__name__)

KIND = "pairs"
POLICIES = ("strict", "skip")
_BUFFER = 2000
_PIXELS = 100_000_000
_NAMED_FAULTS = 10
_FAULTS_IN_A_ROW = 1000
_NOT_EXTRA = {"text", "label", "box", "bbox", "mask", "class_index", "is_thing", "score", "extra"}


class PairStream(IterableDataset):
    """An endless stream of image-text records.

    A pass goes over all shards in an order of its own, decided by the seed. Each shard, or each
    interleaved part of one where there are fewer shards than readers, is read by one worker of one
    process, so that no sample comes twice in a pass. Within a worker a sample leaves through a
    buffer of places in files: it is shuffled over `buffer` samples without holding their bytes.
    What a reader gives, draws of augmentations included, follows from the seed, its number and the
    number of readers.

    Args:
        shards: .tar, .jsonl or .ndjson files.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
        batch_size: records that a worker gives in a row.
        passes: over all samples; None = without end.
        augmentations: of detectron2; images, boxes and masks follow.
        faults: "strict" = a sample or shard that cannot be used ends the run; "skip" = it is left
            out, the first ones named in the log and all of them counted.
        image_root: folder of the images of JSON lines; None = that of each file.
        buffer: samples among which the next is drawn; 1 = in the order of the files.

    Raises:
        ValueError: no shards, or an unknown policy.
    """

    def __init__(
        self,
        shards: Sequence[str],
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        batch_size: int = 1,
        passes: Optional[int] = None,
        augmentations: Sequence[T.Augmentation] = (),
        faults: str = "strict",
        image_root: Optional[Path] = None,
        buffer: int = _BUFFER,
    ):
        super().__init__()
        if not shards:
            raise ValueError("no shards of image-text pairs were given")
        if faults not in POLICIES:
            raise ValueError(f"faults must be one of {POLICIES}, got '{faults}'")
        self.shards = sorted(shards)
        self.rank, self.world_size = rank, world_size
        self.batch_size = batch_size
        self.passes = passes
        self.augmentations = T.AugmentationList(list(augmentations))
        self.faults = faults
        self.image_root = image_root
        self.buffer = buffer
        self.skipped = 0
        self.seek(seed, 0)

    def seek(self, seed: int, start: int) -> None:
        """Makes iterators that are created from now on go on where a run was interrupted.

        What was read is passed over by headers alone. A faulty sample that was skipped counts as
        read, so that after faults some samples come a second time.

        Args:
            seed: of the run.
            start: samples that all processes together have read.

        Raises:
            ValueError: `start` is no whole number of batches.
        """
        step = self.batch_size * self.world_size
        if start % step:
            raise ValueError(
                f"cannot continue at sample {start}: {self.world_size} processes read "
                f"{self.batch_size} each at a time"
            )
        self.seed, self._batches = seed, start // step

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        worker = get_worker_info()
        workers = worker.num_workers if worker else 1
        # Workers take turns at batches. The first turn falls to the one whose it would have been.
        turn = ((worker.id if worker else 0) + self._batches) % workers
        given = self.batch_size * ((self._batches - turn + workers - 1) // workers)
        reader = self.rank * workers + turn
        entries = enumerate(self._entries(reader, self.world_size * workers))
        in_a_row = 0
        for position, entry in itertools.islice(entries, given, None):
            try:
                with draws_of(self.seed, 2, reader, position):
                    record = self._record(entry)
            except FaultySample as fault:
                self._fault(str(fault))
                in_a_row += 1
                if in_a_row >= _FAULTS_IN_A_ROW:
                    raise ValueError(f"{in_a_row} samples in a row are faulty: {fault}") from fault
            else:
                in_a_row = 0
                yield record

    def _entries(self, reader: int, readers: int) -> Iterator[Entry]:
        """Yields: the samples of one of several readers, shuffled, pass after pass."""
        index = lru_cache(maxsize=8)(index_shard)
        told: Dict[str, int] = {}  # faulty shards and how many samples they hold
        order = np.random.default_rng([self.seed, 1, reader])
        found = False
        for number in itertools.count() if self.passes is None else range(self.passes):
            # A pass leaves the buffer before the next comes in: no sample comes twice in it, even
            # where the buffer could hold several passes.
            for entry in _shuffled(
                self._pass(number, reader, readers, index, told), self.buffer, order
            ):
                found = True
                yield entry
            if not found and len(told) == len(self.shards) and not any(told.values()):
                raise ValueError(f"none of {len(self.shards)} shards holds a sample")

    def _pass(
        self,
        number: int,
        reader: int,
        readers: int,
        index: Callable[[str], Tuple[List[Entry], Optional[str]]],
        told: Dict[str, int],
    ) -> Iterator[Entry]:
        """Yields: the samples of one reader in one pass, in the order of the files.

        The shards, or parts of shards, of all passes are dealt to the readers in turn, so that
        those who got one more than others in this pass get one less in another.
        """
        parts = math.ceil(readers / len(self.shards))
        units = len(self.shards) * parts
        order = np.random.default_rng([self.seed, 0, number]).permutation(units)
        for unit in order[(reader - number * units) % readers :: readers]:
            which, part = divmod(int(unit), parts)
            shard = self.shards[which]
            entries, fault = index(shard)
            if fault is None and not entries:
                fault = f"{shard} holds no sample"
            if fault is not None and shard not in told:
                told[shard] = len(entries)
                self._fault(fault)
            yield from entries[part::parts]

    def _record(self, entry: Entry) -> Dict[str, Any]:
        pair = read_pair(entry, self.image_root)
        augmented = T.AugInput(pair.image)
        transforms = self.augmentations(augmented)
        record = {
            "image": torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1))),
            "key": pair.key,
            "captions": pair.captions,
        }
        if pair.tags:
            record["tags"] = pair.tags
        if pair.regions:
            try:
                record["regions"] = _moved(pair.regions, transforms, pair.image, augmented.image)
            except ValueError as error:  # a mask that does not fit its image
                raise FaultySample(f"{entry}: {error}") from error
        return record

    def _fault(self, message: str) -> None:
        if self.faults == "strict":
            raise ValueError(f"{message}; mend it, or register the set with faults='skip'")
        self.skipped += 1
        if self.skipped <= _NAMED_FAULTS or self.skipped & (self.skipped - 1) == 0:
            logger.warning("skipped (%d so far): %s", self.skipped, message)


class Pair(NamedTuple):
    """A sample as it was read, before augmentation.

    Args:
        key: its name.
        image: (H, W, 3) uint8 RGB.
        captions: different texts of the whole image.
        tags: names of what it shows.
        regions: of the image.
    """

    key: str
    image: np.ndarray
    captions: List[str]
    tags: List[str]
    regions: List[Region]


def read_pair(entry: Entry, image_root: Optional[Path] = None) -> Pair:
    """Reads one sample of a shard.

    Args:
        entry: from `index_shard`.
        image_root: folder of the images of JSON lines; None = that of the file.

    Raises:
        FaultySample: it cannot be used, or says nothing of its image.
    """
    sample = read_sample(entry, image_root)
    image = _decoded(sample.image, entry)
    regions = _regions(sample.data, entry)
    captions = _captions(sample)
    tags = [_text(tag) for tag in _list(sample.data, "tags", entry)]
    if not captions and not tags and not regions:
        raise FaultySample(f"{entry} has neither captions nor tags nor regions")
    return Pair(str(sample.data.get("key", entry.key)), image, captions, tags, regions)


def register_pairs(
    name: str,
    shards: Union[str, Sequence[str]],
    *,
    image_root: Optional[str] = None,
    faults: str = "strict",
    licence: Optional[str] = None,
    prepare: Optional[str] = None,
    **metadata: object,
) -> None:
    """Registers image-text shards as a training set.

    Args:
        name: of the data set.
        shards: glob patterns relative to $DETECTRON2_DATASETS, of .tar or .jsonl files.
        image_root: folder of the images of JSON lines, likewise relative; None = that of the file.
        faults: "strict" or "skip", see `PairStream`.
        licence: under which the source gives it out.
        prepare: command that makes the files.
        metadata: what else the set is known by.

    Raises:
        ValueError: an unknown policy.
        FileNotFoundError: on loading: no file fits the patterns.
    """
    if faults not in POLICIES:
        raise ValueError(f"data set '{name}': faults must be one of {POLICIES}, got '{faults}'")
    patterns = [shards] if isinstance(shards, str) else list(shards)

    def load(policy: FaultPolicy) -> List[dict]:
        files = sorted({f for p in patterns for f in glob.glob(str(dataset_root() / p))})
        if not files:
            step = f", or make them with `{prepare}`" if prepare else ""
            raise FileNotFoundError(
                f"data set '{name}': no file {patterns} in {dataset_root()}; set {ROOT_VARIABLE} "
                f"to the folder that holds them{step}"
            )
        return [{"file_name": file, "dataset": name} for file in files]

    register(
        name,
        load,
        kind=KIND,
        faults=faults,
        licence=licence,
        pairs_image_root=image_root,
        **metadata,
    )


def is_pairs(names: Sequence[str]) -> bool:
    """Whether training sets hold image-text pairs.

    Raises:
        ValueError: some do and some do not; one loop cannot read both.
    """
    kinds = [MetadataCatalog.get(name).get("kind") == KIND for name in names]
    if any(kinds) and not all(kinds):
        raise ValueError(
            f"DATASETS.TRAIN mixes image-text pairs {[n for n, k in zip(names, kinds) if k]} with "
            f"others {[n for n, k in zip(names, kinds) if not k]}; train on one kind at a time"
        )
    return any(kinds)


def build_pairs_loader(cfg: CfgNode, batch_size: int) -> DataLoader:
    """Builds the endless training loader of the image-text sets in DATASETS.TRAIN.

    Images are augmented as INPUT says for training (shortest side, flip, crop).

    Args:
        cfg: DATASETS.TRAIN, INPUT, DATALOADER.NUM_WORKERS, SEED.
        batch_size: records of a batch of this process.

    Returns:
        Gives lists of records. Its `dataset.seek(seed, sample)` makes it start elsewhere.

    Raises:
        ValueError: the sets have different policies or image folders.
        FileNotFoundError: a set has no file.
    """
    names = cfg.DATASETS.TRAIN
    settings = {
        (m.faults, m.pairs_image_root) for m in (MetadataCatalog.get(name) for name in names)
    }
    if len(settings) > 1:
        raise ValueError(f"{list(names)} differ in (faults, image_root): {sorted(settings)}")
    faults, image_root = settings.pop()
    stream = PairStream(
        [record["file_name"] for name in names for record in DatasetCatalog.get(name)],
        seed=max(cfg.SEED, 0),
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
        batch_size=batch_size,
        augmentations=build_augmentation(cfg, is_train=True),
        faults=faults,
        image_root=None if image_root is None else dataset_root() / image_root,
    )
    return DataLoader(
        stream,
        batch_size=batch_size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
    )


def _shuffled(entries: Iterator[Entry], size: int, order: np.random.Generator) -> Iterator[Entry]:
    """Yields: the entries, each drawn from the next `size` that are left."""
    waiting = list(itertools.islice(entries, size))
    for entry in entries:
        place = int(order.integers(len(waiting)))
        waiting[place], entry = entry, waiting[place]
        yield entry
    order.shuffle(waiting)
    yield from waiting


def _decoded(image: Union[bytes, Path], entry: Entry) -> np.ndarray:
    """Returns: (H, W, 3) uint8 RGB, turned as its EXIF data say."""
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
            if picture.width * picture.height > _PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels, over {_PIXELS}")
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception as error:  # decoders of damaged files raise whatever they please
        raise FaultySample(f"{entry}: its image cannot be read ({error})") from error


def _captions(sample: Sample) -> List[str]:
    """Returns: each different text once: the .txt line by line, then what the JSON says."""
    texts: List[Any] = sample.text.splitlines()
    for key in ("caption", "full_caption", "captions"):
        value = sample.data.get(key, [])
        texts.extend(value if isinstance(value, list) else [value])
    return list(dict.fromkeys(text for text in map(_text, texts) if text))


def _text(value: Any) -> str:
    """Returns: the words of a text, or of an object that holds them as "text" or "name"."""
    if isinstance(value, Mapping):
        value = value.get("text", value.get("name", ""))
    return " ".join(str(value).split())


def _list(data: Mapping[str, Any], key: str, entry: Entry) -> list:
    value = data.get(key) or []
    if not isinstance(value, list):
        raise FaultySample(f"{entry}: '{key}' is {type(value).__name__}, expected a list")
    return value


def _regions(data: Mapping[str, Any], entry: Entry) -> List[Region]:
    regions = []
    for number, item in enumerate(_list(data, "regions", entry)):
        try:
            box = item.get("box", item.get("bbox"))
            if box is not None:
                check_box(box)
            rest = {key: value for key, value in item.items() if key not in _NOT_EXTRA}
            regions.append(
                Region(
                    text=str(item.get("text", item.get("label", ""))),
                    box=None if box is None else tuple(map(float, box)),
                    mask=item.get("mask"),
                    class_index=int(item.get("class_index", -1)),
                    is_thing=bool(item.get("is_thing", True)),
                    score=float(item.get("score", 1.0)),
                    extra={**item.get("extra", {}), **rest},
                )
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise FaultySample(f"{entry}: region {number} cannot be used ({error})") from error
    return regions


def _moved(
    regions: Sequence[Region], transforms: T.TransformList, before: np.ndarray, after: np.ndarray
) -> List[Region]:
    """Returns: the regions where the augmented image shows them; those outside are left out."""
    height, width = after.shape[:2]
    moved = []
    for region in regions:
        box, mask = region.box, region.mask
        if mask is not None:
            bitmap = region.bitmap(*before.shape[:2]).astype(np.uint8)
            bitmap = transforms.apply_segmentation(bitmap).astype(bool)
            mask, box = encode_mask(bitmap), box_of_mask(bitmap)
        elif box is not None:
            corners = transforms.apply_box(np.array([box]))[0].clip(0, [width, height] * 2)
            visible = corners[2] > corners[0] and corners[3] > corners[1]
            box = tuple(map(float, corners)) if visible else None
        if box is not None or not region.has_target:
            moved.append(Region(**{**vars(region), "box": box, "mask": mask}))
    return moved
