"""Hostile data sets by the hundred, in a process that may die of them.

    python tests/support/fuzz.py --folder DIR --seed 0

Files of small sets are damaged at random and go through readers, mapper, checker and evaluator. It
ends with one JSON line that counts the cases; anything that breaks a promise ends it earlier:

- what training would stop at, the checker tells as a fault;
- what the checker finds clean trains, and has the masks, classes and numbers that the files hold;
- nothing takes longer than a few seconds or more than a little memory.
"""

import argparse
import copy
import faulthandler
import importlib.util
import json
import logging
import os
import resource
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from segplugins.data import (
    SegMapper,
    dataset_metadata,
    load_dataset,
    register_instances,
    register_panoptic,
    register_referring,
    register_regions,
    register_semantic,
)
from segplugins.data.check import check_dataset
from segplugins.data.check.load import READING_ERRORS
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.structures.regions import Task, decode_mask, validate_record

_spec = importlib.util.spec_from_file_location(
    "small_sets", Path(__file__).with_name("small_sets.py")
)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)

SECONDS = 5.0  # of a processor for a case; most take hundredths
HANGS = 90.0  # on the clock, however busy the machine is
MEBIBYTES = 600  # beyond what the imports take
CLASSES = ("x", "y", "z")
HOSTILE: Tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 7, 255, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**40, 10**400,
    0.5, -0.0, 1e-320, 1e9, 1e30, 1e308, float("nan"), float("inf"), float("-inf"),
    "", " ", "x", "cat", "1", "nan", "../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "é" * 300,
    [], {}, [[]], [None], [1, 2], [[1, 2, 3, 4]], [[[1, 2]] * 6], ["x"] * 6, {"size": [8, 10]},
    [[0, 0, 1e6, 1, 1, 1e6]], [[0, 0, 1e300, 1, 2, 2]], [[0, 0, float("nan"), 1, 2, 2]],
    [[0, 0, 80, 80] * 2000], {"size": [8, 10], "counts": "~" * 50}, {"size": [8, 10], "counts": ""},
    {"size": [8, 10], "counts": [2**62, 2**62, 2**62, 2**62, 80]},
    {"size": [8, 10], "counts": "o" * 40 + "0"}, {"size": [2**20, 2**20], "counts": [2**40]},
    {"size": [8, 10], "counts": [40]}, {"size": [10, 8], "counts": [80]},
    {"size": 80, "counts": [80]}, {"size": [8, 10], "counts": [-40, 120]},
)  # fmt: skip


class Broken(AssertionError):
    """A promise that was not kept."""


def spots(content: Any) -> Iterator[Tuple[Any, Any]]:
    """Yields every place of parsed JSON as (container, key)."""
    keys = content.keys() if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        yield content, key
        if isinstance(content[key], (dict, list)):
            yield from spots(content[key])


def mutated(content: Any, draw: np.random.Generator) -> Any:
    """Returns a copy with up to two places changed, removed or doubled."""
    content = copy.deepcopy(content)
    for _ in range(draw.integers(3)):
        places = list(spots(content))
        container, key = places[draw.integers(len(places))]
        what = draw.integers(10)
        if what == 0:
            del container[key]
        elif what == 1 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif what == 2:
            other, name = places[draw.integers(len(places))]
            container[key] = copy.deepcopy(other[name])
        else:
            container[key] = copy.deepcopy(HOSTILE[draw.integers(len(HOSTILE))])
    return content


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """Returns bytes that are cut off, or of which some are other ones."""
    if draw.random() < 0.3:
        return data[: draw.integers(len(data))]
    changed = bytearray(data)
    for _ in range(draw.integers(1, 6)):
        changed[draw.integers(len(changed))] = draw.integers(256)
    return bytes(changed)


class Fuzz:
    """Runs cases in a folder and counts them.

    Args:
        folder: empty; becomes $DETECTRON2_DATASETS.
        seed: of all draws.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw = folder, np.random.default_rng(seed)
        self.counts: Dict[str, int] = {}
        self.number = 0
        os.environ["DETECTRON2_DATASETS"] = str(folder)
        for index in (1, 2, 3):
            self.save(f"images/{index}.png", np.full((8, 10, 3), 40 * index, np.uint8))

    def save(self, name: str, array: np.ndarray) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)

    def write(self, name: str, content: Any) -> None:
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        (self.folder / name).write_bytes(data)

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def name(self) -> str:
        self.number += 1
        return f"fuzz_{self.number}"

    def case(self, kind: str, name: str, targets: Tuple[str, ...]) -> List[dict]:
        """Checks a set, trains on it; returns what the mapper gave, record by record."""
        start = time.process_time()
        faulthandler.dump_traceback_later(HANGS, exit=True)
        try:
            checked = check_dataset(name)
            given, stopped = self.trained(name, targets)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if time.process_time() - start > SECONDS:
            raise Broken(f"{kind}: a case took {time.process_time() - start:.1f} s")
        clean = not checked.faults
        if stopped is not None and clean:
            raise Broken(f"{kind}: found clean, but training stops: {stopped!r}")
        self.count(f"{kind}: {'clean' if clean else 'faulty'}")
        return given if clean else []

    def trained(self, name: str, targets: Tuple[str, ...]) -> Tuple[List[dict], Any]:
        """Returns what the mapper gives of each record, and the error that stopped it, or None."""
        try:
            records = load_dataset(name)
            mapper = SegMapper(
                True, augmentations=[], targets=targets, metadata={name: dataset_metadata(name)}
            )
            given = [mapper(record) for record in records]
            for record in given:
                validate_record(record, training=True)
        except READING_ERRORS as error:
            return [], error
        return given, None

    def instances(self) -> None:
        """A COCO instance file."""
        content = small.coco()
        mask = self.draw.random((10, 8)) < self.draw.random()
        content["annotations"][1].update(segmentation={"size": [8, 10], "counts": runs_of(mask)})
        content = mutated(content, self.draw)
        self.write("small.json", content)
        name = self.name()
        register_instances(name, json_file="small.json", image_root="images")
        for record in self.case("instances", name, ("instances",)):
            self.compare_instances(record, content, name)

    def compare_instances(self, record: dict, content: Any, name: str) -> None:
        """What was found clean must be what the file holds, read here without our readers."""
        names = {category["id"]: category["name"] for category in content["categories"]}
        truth = sorted(
            (
                (names[a["category_id"]].strip(), plain_area(a))
                for a in content["annotations"]
                if a["image_id"] == record["image_id"] and not a.get("iscrowd")
            ),
            key=str,
        )
        classes = MetadataCatalog.get(name).thing_classes
        instances = record["instances"]
        if not instances.has("gt_masks"):
            return
        areas = instances.gt_masks.tensor.sum(dim=(1, 2)).tolist()
        pairs = zip(instances.gt_classes.tolist(), areas)
        found = sorted(((classes[k], n) for k, n in pairs), key=str)
        if len(truth) != len(found) or any(
            k != t or (area is not None and area != n) for (t, area), (k, n) in zip(truth, found)
        ):
            raise Broken(f"instances: the file holds {truth}, the mapper gives {found}")

    def lines(self) -> None:
        """Region lines, changed as JSON or byte by byte."""
        records = [
            small.line(1, ("a cat", [1, 1, 5, 5], [small.SQUARE]), ("b", None, small.rle())),
            small.line(2, ("nothing here",)),
        ]
        if self.draw.random() < 0.5:
            content = "\n".join(json.dumps(mutated(record, self.draw)) for record in records)
            self.write("small.jsonl", content)
        else:
            text = "\n".join(json.dumps(record) for record in records).encode()
            self.write("small.jsonl", damaged(text, self.draw))
        name = self.name()
        register_regions(name, lines="small.jsonl", image_root="images", task=Task.REFERRING)
        self.case("lines", name, ("instances",))

    def refs(self) -> None:
        """Referring expressions, or the instances that they mean."""
        refs = [small.ref(1, 11, "a cat", "the cat"), small.ref(2, [12, 11], "both")]
        refs.append(small.ref(3, [-1], "a horse", image=2))
        content = small.coco()
        if self.draw.random() < 0.6:
            refs = mutated(refs, self.draw)
        else:
            content = mutated(content, self.draw)
        self.write("refs.json", refs)
        self.write("instances.json", content)
        name = self.name()
        register_referring(
            name,
            refs_file="refs.json",
            instances_file="instances.json",
            image_root="images",
            split="train",
            sample=("object", "image")[self.draw.integers(2)],
        )
        self.case("refs", name, ("instances",))

    def panoptic(self) -> None:
        """A panoptic file, or its map."""
        ids = np.zeros((8, 10), np.uint32)
        ids[:4], ids[6:] = 300, 5
        segments = [
            {"id": 300, "category_id": 9, "area": 40},
            {"id": 5, "category_id": 7, "area": 20},
        ]
        content = {
            "images": small.coco()["images"][:1],
            "categories": [
                {"id": 7, "name": "cat", "isthing": 1},
                {"id": 9, "name": "sky", "isthing": 0},
            ],
            "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        }
        if self.draw.random() < 0.6:
            content = mutated(content, self.draw)
        else:
            ids[self.draw.integers(8), self.draw.integers(10)] = self.draw.choice([0, 5, 9, 70000])
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        self.save("maps/1.png", colours)
        self.write("panoptic.json", content)
        name = self.name()
        register_panoptic(name, json_file="panoptic.json", map_root="maps", image_root="images")
        for record in self.case("panoptic", name, ("instances",)):
            if int(record["instances"].gt_masks.tensor.sum()) != int((ids > 0).sum()):
                crowd = json.dumps(content).count('"iscrowd"')
                if not crowd:
                    raise Broken("panoptic: the masks do not cover the segments of the map")

    def label_map(self) -> None:
        """A label map of another type, size, value or with damaged bytes, and its score."""
        name, folder = self.name(), f"set_{self.number}"
        labels = self.draw.integers(0, 3, (8, 10)).astype(np.uint8)
        labels[0] = 255
        kind = self.draw.integers(9)  # above 5: as it should be
        ext = "png"
        if kind == 0:
            labels[3, 3] = self.draw.integers(3, 255)
        elif kind == 1:
            labels = labels.astype(np.uint16)
            labels[3, 3] = self.draw.integers(0, 2**16)
        elif kind == 2:
            labels, ext = labels.astype(np.int32), "tif"
            labels[3, 3] = self.draw.integers(-(2**31), 2**31)
        elif kind == 3:
            labels = labels[: self.draw.integers(1, 9), : self.draw.integers(1, 11)]
        elif kind == 4:
            labels = np.repeat(labels[..., None], self.draw.integers(2, 5), axis=-1)
        self.save(f"{folder}/labels/a.{ext}", labels)
        self.save(f"{folder}/images/a.png", np.zeros((8, 10, 3), np.uint8))
        if kind == 5:
            path = self.folder / folder / ("labels", "images")[self.draw.integers(2)] / "a.png"
            path.write_bytes(damaged(path.read_bytes(), self.draw))
        register_semantic(
            name,
            image_root=f"{folder}/images",
            label_root=f"{folder}/labels",
            image_ext="png",
            label_ext=ext,
            vocabulary=CLASSES,
        )
        clean = self.case("label map", name, ("sem_seg", "instances"))
        self.score(name, bool(clean))

    def score(self, name: str, clean: bool) -> None:
        """A score must be that of the pixels that Pillow reads, or an error."""
        evaluator = SemanticEvaluator(name, CLASSES, distributed=False)
        [record] = load_dataset(name)
        prediction = self.draw.integers(0, 3, (8, 10))
        try:
            evaluator.process([record], [{"sem_seg": torch.from_numpy(prediction)}])
            evaluator.evaluate()
        except READING_ERRORS as error:
            if clean:
                raise Broken(f"label map: clean, but not scored: {error!r}") from error
            return
        with Image.open(record["sem_seg_file_name"]) as image:
            truth = np.asarray(image).astype(np.int64)
        expected = np.zeros((4, 4), np.int64)
        for predicted, true in zip(prediction.ravel(), truth.ravel()):
            expected[predicted, 3 if true == 255 else true] += 1
        if truth.shape != (8, 10) or (evaluator.confusion != expected).any():
            raise Broken(f"label map: counted {evaluator.confusion}, expected {expected}")
        self.count("label map: scored")

    def image(self) -> None:
        """An image file with damaged bytes, of any format."""
        name, folder = self.name(), f"set_{self.number}"
        ext = ("png", "jpg", "webp", "bmp", "gif", "tif")[self.draw.integers(6)]
        self.save(f"{folder}/images/a.{ext}", self.draw.integers(0, 256, (8, 10, 3), np.uint8))
        self.save(f"{folder}/labels/a.png", np.zeros((8, 10), np.uint8))
        path = self.folder / folder / f"images/a.{ext}"
        path.write_bytes(damaged(path.read_bytes(), self.draw))
        register_semantic(
            name,
            image_root=f"{folder}/images",
            label_root=f"{folder}/labels",
            image_ext=ext,
            vocabulary=CLASSES,
        )
        for record in self.case("image", name, ("sem_seg",)):
            if tuple(record["image"].shape) != (3, 8, 10):
                raise Broken(f"image: clean, but of shape {tuple(record['image'].shape)}")

    def mask(self) -> None:
        """Masks of random numbers, straight to where they are drawn."""
        height, width = (int(side) for side in self.draw.integers(1, 50, 2))
        far = 10.0 ** self.draw.integers(0, self.draw.choice([2, 40]))
        kind = self.draw.integers(3)
        if kind == 0:
            count = int(self.draw.integers(0, 40))
            mask = [self.draw.normal(0, far, 2 * count).tolist() for _ in range(3)]
        elif kind == 1:
            drawn = self.draw.random((width, height)) < self.draw.random()
            mask = {"size": [height, width], "counts": runs_of(drawn)}
        else:
            runs = self.draw.integers(-3, 2 + int(min(far, 2**62)), self.draw.integers(0, 30))
            mask = {"size": [height, width], "counts": runs.tolist()}
        try:
            drawn = decode_mask(mask, height, width)
        except ValueError:
            self.count("mask: refused")
            return
        self.count("mask: drawn")
        if drawn.shape != (height, width) or drawn.dtype != bool:
            raise Broken(f"mask: drawn as {drawn.shape} {drawn.dtype}")
        if isinstance(mask, dict) and int(drawn.sum()) != sum(mask["counts"][1::2]):
            raise Broken("mask: other pixels than the runs say")


def runs_of(columns: np.ndarray) -> List[int]:
    """Returns the run lengths of a mask (W, H), column by column, background first."""
    runs, last = [0], False
    for value in columns.ravel().tolist():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    return runs


def plain_area(annotation: dict) -> Any:
    """Pixels of a list RLE or of the square; None where only drawing would tell."""
    mask = annotation.get("segmentation")
    if mask == [small.SQUARE]:
        return 16
    if isinstance(mask, dict) and mask == small.rle():
        return 12
    if isinstance(mask, dict) and isinstance(mask["counts"], list):
        return sum(mask["counts"][1::2])
    return None


CASES: Dict[str, Tuple[Callable[[Fuzz], None], int]] = {
    "instances": (Fuzz.instances, 250),
    "lines": (Fuzz.lines, 120),
    "refs": (Fuzz.refs, 120),
    "panoptic": (Fuzz.panoptic, 120),
    "label_map": (Fuzz.label_map, 150),
    "image": (Fuzz.image, 150),
    "mask": (Fuzz.mask, 400),
}


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=float, default=1.0, help="so many times the usual cases")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    fuzz = Fuzz(args.folder, args.seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for run, number in CASES.values():
        for _ in range(round(number * args.times)):
            run(fuzz)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > MEBIBYTES:
        raise Broken(f"memory grew by {grown:.0f} MiB, expected at most {MEBIBYTES}")
    print(json.dumps({**fuzz.counts, "MiB": round(grown)}))


if __name__ == "__main__":
    main()
