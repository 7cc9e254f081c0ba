"""The drawn world (segplugins/drawn_world), as `tools/make_drawn_world.py` writes it."""

from functools import partial
from typing import List, Optional

from detectron2.data import DatasetCatalog

from segplugins.data.catalog import PolicyLoader, dataset_root
from segplugins.data.pairs import register_pairs
from segplugins.data.read_video import youtube_evaluation_records, youtube_training_records
from segplugins.data.register import (
    register_crops,
    register_instances,
    register_panoptic,
    register_referring,
    register_retrieval,
    register_salient,
    register_semantic,
    register_videos,
)
from segplugins.drawn_world.classes import ClassList, choose_classes
from segplugins.drawn_world.world_file import check_world, classes_of
from segplugins.drawn_world.writers.coco import LICENCE
from segplugins.drawn_world.writers.labels import attribute_names, part_names
from segplugins.files.faults import FaultPolicy
from segplugins.structures.regions import Task
from segplugins.structures.vocabulary import Vocabulary, register_vocabulary

SPLITS = ("train", "val", "val_unseen")
_LEAST_SIDE = 8  # pixels of an object whose class can be told from it alone
_SOURCE = {
    "licence": LICENCE,
    "prepare": "python tools/make_drawn_world.py --out datasets/drawn",
}


def register_drawn_world(
    folder: str = "drawn", *, prefix: str = "drawn", classes: Optional[ClassList] = None
) -> None:
    """Registers a drawn world under names that start with `prefix`.

    Per split (train, val, val_unseen): <prefix>_<split>_sem_seg, _attributes (classes with their
    colours: "red car"), _parts, _instance, _panoptic, _referring and _grefer (a record is an
    object in training, a target with all its phrases otherwise), _salient and _regions (image-text
    records with masks, captions and tags), _crops (each object by itself, for classification) and
    _retrieval (pictures and their captions). Also <prefix>_train_video, <prefix>_val_video and
    <prefix>_pairs (image-text tars) and <prefix>_captions (the same with the captions of salient
    things alone).
    Vocabularies: <prefix>, <prefix>_seen, <prefix>_things, <prefix>_attributes and <prefix>_parts.

    Args:
        folder: of the world, relative to $DETECTRON2_DATASETS.
        prefix: of all names.
        classes: of the world; None = those of the world that stands there.

    Raises:
        FileNotFoundError: `classes` is None and there is no world.
    """
    chosen = classes or classes_of(dataset_root() / folder)
    _register_vocabularies(prefix, chosen)
    before = set(DatasetCatalog.list())
    for split in SPLITS:
        _register_label_maps(folder, prefix, chosen, split)
        _register_objects(folder, prefix, chosen, split)
        _register_phrases(folder, prefix, split)
        register_pairs(
            f"{prefix}_{split}_regions",
            f"{folder}/regions/{split}.jsonl",
            image_root=f"{folder}/images/{split}",
            **_SOURCE,
        )
        register_crops(
            f"{prefix}_{split}_crops",
            image_root=f"{folder}/images/{split}",
            json_file=f"{folder}/annotations/instances_{split}.json",
            vocabulary=f"{prefix}_things",
            least_side=_LEAST_SIDE,
            **_SOURCE,
        )
        register_retrieval(
            f"{prefix}_{split}_retrieval",
            image_root=f"{folder}/images/{split}",
            captions_file=f"{folder}/regions/{split}.jsonl",
            **_SOURCE,
        )
    register_pairs(f"{prefix}_pairs", f"{folder}/pairs/*.tar", **_SOURCE)
    register_pairs(f"{prefix}_captions", f"{folder}/pairs/*.tar", captions_only=True, **_SOURCE)
    videos = {
        "train": youtube_training_records,
        "val": partial(youtube_evaluation_records, split="valid"),
    }
    for split, records in videos.items():
        register_videos(f"{prefix}_{split}_video", records, root=f"{folder}/videos", **_SOURCE)
    for name in set(DatasetCatalog.list()) - before:
        _guard(name, folder, list(chosen.names))


def _register_vocabularies(prefix: str, classes: ClassList) -> None:
    everything = classes.vocabulary(prefix)
    register_vocabulary(everything)
    register_vocabulary(everything.select(range(classes.num_seen), f"{prefix}_seen"))
    things = tuple(classes.things)
    register_vocabulary(Vocabulary(f"{prefix}_things", things, is_thing=(True,) * len(things)))
    looks = tuple(attribute_names(classes))
    is_thing = tuple(classes.is_thing(name) for name, _ in classes.looks)
    register_vocabulary(Vocabulary(f"{prefix}_attributes", looks, is_thing=is_thing))
    parts = tuple(part_names(classes))
    register_vocabulary(Vocabulary(f"{prefix}_parts", parts, none_class=parts[-1]))


def _register_label_maps(folder: str, prefix: str, classes: ClassList, split: str) -> None:
    seen_looks = [i for i, look in enumerate(classes.looks) if classes.is_seen(*look)]
    seen_parts = [i for i, (name, _) in enumerate(classes.parts) if name in classes.seen]
    # Trained with all names, a model would learn that the unseen ones are nowhere. They are the
    # last ones, so that a label means the same under both vocabularies.
    names = prefix if split == "val_unseen" else f"{prefix}_seen"
    kinds = (
        ("sem_seg", "semantic", names, Task.SEMANTIC, range(classes.num_seen)),
        ("attributes", "attributes", f"{prefix}_attributes", Task.SEMANTIC, seen_looks),
        ("parts", "parts", f"{prefix}_parts", Task.PART, [*seen_parts, len(classes.parts)]),
    )
    for kind, labels, vocabulary, task, seen in kinds:
        register_semantic(
            f"{prefix}_{split}_{kind}",
            image_root=f"{folder}/images/{split}",
            label_root=f"{folder}/annotations/{labels}/{split}",
            image_ext="png",
            vocabulary=vocabulary,
            seen=tuple(seen) if split == "val_unseen" else None,
            task=task,
            **_SOURCE,
        )


def _register_objects(folder: str, prefix: str, classes: ClassList, split: str) -> None:
    hides = split == "val_unseen"
    seen_things = [i for i, name in enumerate(classes.things) if name in classes.seen]
    register_instances(
        f"{prefix}_{split}_instance",
        json_file=f"{folder}/annotations/instances_{split}.json",
        image_root=f"{folder}/images/{split}",
        vocabulary=f"{prefix}_things",
        seen=seen_things if hides else None,
        **_SOURCE,
    )
    register_panoptic(
        f"{prefix}_{split}_panoptic",
        json_file=f"{folder}/annotations/panoptic_{split}.json",
        map_root=f"{folder}/annotations/panoptic/{split}",
        image_root=f"{folder}/images/{split}",
        vocabulary=prefix,
        seen=range(classes.num_seen) if hides else None,
        **_SOURCE,
    )


def _register_phrases(folder: str, prefix: str, split: str) -> None:
    for kind, file in (("referring", "refs(drawn).p"), ("grefer", "grefs(drawn).json")):
        register_referring(
            f"{prefix}_{split}_{kind}",
            refs_file=f"{folder}/referring/{file}",
            instances_file=f"{folder}/referring/instances.json",
            image_root=f"{folder}/images",
            split=split,
            sample="object" if split == "train" else "expressions",
            generalised=kind == "grefer",
            **_SOURCE,
        )
    register_salient(
        f"{prefix}_{split}_salient",
        image_root=f"{folder}/images/{split}",
        mask_root=f"{folder}/annotations/salient/{split}",
        image_ext="png",
        **_SOURCE,
    )


def _guard(name: str, folder: str, classes: List[str]) -> None:
    """Lets a data set be loaded only from a world of its own classes."""
    load: PolicyLoader = DatasetCatalog.pop(name)

    def checked(policy: FaultPolicy) -> List[dict]:
        check_world(dataset_root() / folder, classes)
        return load(policy)

    DatasetCatalog.register(name, PolicyLoader(name, checked, load.description))


register_drawn_world(classes=choose_classes())
