"""The drawn world (segplugins/data/drawn_world), as `tools/make_drawn_world.py` writes it."""

from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from detectron2.data import DatasetCatalog
from detectron2.data.datasets.coco import load_coco_json

from segplugins.data.catalog import dataset_root, register
from segplugins.data.drawn_world import load
from segplugins.data.drawn_world.classes import ClassList, choose_classes
from segplugins.data.drawn_world.generate import classes_of
from segplugins.data.drawn_world.writers.coco import LICENCE
from segplugins.data.drawn_world.writers.labels import attribute_names, part_names
from segplugins.data.pairs import register_pairs
from segplugins.data.register import register_semantic
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

PREPARE = "python tools/make_drawn_world.py --out datasets/drawn"
SPLITS = ("train", "val", "val_unseen")


def register_drawn_world(
    folder: str = "drawn", *, prefix: str = "drawn", classes: Optional[ClassList] = None
) -> None:
    """Registers a drawn world under names that start with `prefix`.

    Per split (train, val, val_unseen): <prefix>_<split>_sem_seg, _attributes (classes with their
    colours: "red car"), _instance, _panoptic, _parts, _referring, _grefer, _salient; <prefix>_{train,val}_video; <prefix>_pairs (image-text tars) and
    <prefix>_<split>_regions (region lines). Vocabularies: <prefix>, <prefix>_things,
    <prefix>_attributes and <prefix>_parts.

    Args:
        folder: of the world, relative to $DETECTRON2_DATASETS.
        prefix: of all names.
        classes: of the world; None = those of the world that stands there.

    Raises:
        FileNotFoundError: `classes` is None and there is no world.
    """
    chosen = classes or classes_of(dataset_root() / folder)
    _register_vocabularies(prefix, chosen)
    world = _World(folder, prefix, chosen)
    for split in SPLITS:
        world.register_label_maps(split)
        world.register_instances(split)
        world.register_phrases(split)
    for split, name in (("train", "train"), ("valid", "val")):
        records = partial(load.video_records, split=split)
        world.register(f"{name}_video", records, evaluator_type="video")
    register_pairs(f"{prefix}_pairs", f"{folder}/pairs/*.tar", licence=LICENCE, prepare=PREPARE)
    for split in SPLITS:
        register_pairs(
            f"{prefix}_{split}_regions",
            f"{folder}/regions/{split}.jsonl",
            image_root=f"{folder}/images/{split}",
            licence=LICENCE,
            prepare=PREPARE,
        )


def _register_vocabularies(prefix: str, classes: ClassList) -> None:
    register_vocabulary(classes.vocabulary(prefix))
    things = tuple(classes.things)
    register_vocabulary(Vocabulary(f"{prefix}_things", things, is_thing=(True,) * len(things)))
    looks = tuple(attribute_names(classes))
    is_thing = tuple(classes.is_thing(name) for name, _ in classes.looks)
    register_vocabulary(Vocabulary(f"{prefix}_attributes", looks, is_thing=is_thing))
    parts = tuple(part_names(classes))
    register_vocabulary(Vocabulary(f"{prefix}_parts", parts, none_class=parts[-1]))


class _World:
    """One world on its way into the catalog."""

    def __init__(self, folder: str, prefix: str, classes: ClassList):
        self.folder, self.prefix, self.classes = folder, prefix, classes

    def root(self) -> Path:
        return dataset_root() / self.folder

    def register(
        self, name: str, records: Callable[[Path], List[dict]], **metadata: object
    ) -> None:
        """Registers `records(root)` under the prefix; the world is checked when it is loaded."""
        metadata = {"vocabulary": None, **metadata}
        reader = load.guarded(lambda: records(self.root()), self.root, list(self.classes.names))
        register(f"{self.prefix}_{name}", reader, licence=LICENCE, **metadata)

    def register_label_maps(self, split: str) -> None:
        kinds = (
            ("sem_seg", "semantic", self.prefix, Task.SEMANTIC),
            ("attributes", "attributes", f"{self.prefix}_attributes", Task.SEMANTIC),
            ("parts", "parts", f"{self.prefix}_parts", Task.PART),
        )
        for kind, labels, vocabulary, task in kinds:
            name = f"{self.prefix}_{split}_{kind}"
            if name in DatasetCatalog:
                continue
            register_semantic(
                name,
                image_root=f"{self.folder}/images/{split}",
                label_root=f"{self.folder}/annotations/{labels}/{split}",
                image_ext="png",
                vocabulary=vocabulary,
                seen=self._seen(kind) if split == "val_unseen" else None,
                licence=LICENCE,
                prepare=PREPARE,
                task=task,
            )
            reader = DatasetCatalog.pop(name)
            names = list(self.classes.names)
            DatasetCatalog.register(name, load.guarded(reader, self.root, names))

    def _seen(self, kind: str) -> List[int]:
        if kind == "sem_seg":
            return list(range(self.classes.num_seen))
        if kind == "attributes":
            looks = self.classes.looks
            return [
                i for i, (name, colour) in enumerate(looks) if self.classes.is_seen(name, colour)
            ]
        parts = [i for i, (of, _) in enumerate(self.classes.parts) if of in self.classes.seen]
        return [*parts, len(self.classes.parts)]  # the background

    def register_instances(self, split: str) -> None:
        things = self.classes.things
        ids = {self.classes.names.index(name) + 1: i for i, name in enumerate(things)}
        seen = tuple(i for i, name in enumerate(things) if name in self.classes.seen)
        self.register(
            f"{split}_instance",
            partial(_instance_records, split=split),
            evaluator_type="coco",
            vocabulary=f"{self.prefix}_things",
            thing_classes=list(things),
            thing_dataset_id_to_contiguous_id=ids,
            seen=seen if split == "val_unseen" else None,
        )
        self.register(
            f"{split}_panoptic",
            partial(load.panoptic_records, split=split),
            evaluator_type="panoptic",
            vocabulary=self.prefix,
            stuff_classes=list(self.classes.names),
            ignore_label=255,
            seen=tuple(range(self.classes.num_seen)) if split == "val_unseen" else None,
        )

    def register_phrases(self, split: str) -> None:
        kinds: Dict[str, Any] = {
            "referring": (
                partial(load.referring_records, split=split, generalised=False),
                "referring",
            ),
            "grefer": (
                partial(load.referring_records, split=split, generalised=True),
                "generalised_referring",
            ),
            "salient": (partial(load.salient_records, split=split), "salient"),
        }
        for kind, (records, evaluator_type) in kinds.items():
            self.register(f"{split}_{kind}", records, evaluator_type=evaluator_type)


def _instance_records(root: Path, split: str) -> List[dict]:
    file = root / "annotations" / f"instances_{split}.json"
    records = load_coco_json(str(file), str(root / "images" / split))
    for record in records:
        record["task"] = Task.INSTANCE
    return records


register_drawn_world(classes=choose_classes())
