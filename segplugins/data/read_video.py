"""Videos with referring expressions: Ref-YouTube-VOS and Ref-DAVIS17. A record is a frame."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from segplugins.files.json_file import read_json
from segplugins.files.text import read_lines
from segplugins.structures.regions import Task

# The four expressions of an object, in the order of the runs they are scored in.
DAVIS_RUNS = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")
_DAVIS_LINE = re.compile(r'^(\S+)\s+(\d+)\s+"?(.*?)"?\s*$')


def youtube_training_records(root: Path) -> List[dict]:
    """Reads the training split of Ref-YouTube-VOS.

    Args:
        root: holds "meta_expressions/train" and "train" with "meta.json", "JPEGImages" and
            "Annotations".

    Returns:
        One record per video, object and frame that shows it; the sentence is drawn at each visit.
    """
    videos = read_json(root / "meta_expressions/train/meta_expressions.json", "videos")["videos"]
    objects = read_json(root / "train" / "meta.json", "videos")["videos"]
    records = []
    for video, content in videos.items():
        sentences = defaultdict(list)
        for expression in content["expressions"].values():
            sentences[str(expression["obj_id"])].append(expression["exp"].strip())
        for number, texts in sentences.items():
            shown = set(objects[video]["objects"][number]["frames"])
            for frame in content["frames"]:
                if frame in shown:
                    record = _frame_record(root / "train", video, frame)
                    record.update(
                        mask_file_name=_mask_file(root / "train", video, frame),
                        object_id=int(number),
                        sentences=texts,
                        expression_id=f"object {number}",
                    )
                    records.append(record)
    return records


def youtube_evaluation_records(root: Path, split: str) -> List[dict]:
    """Reads a split of Ref-YouTube-VOS for evaluation.

    Args:
        root: holds "meta_expressions/<split>" and "<split>" with "JPEGImages" and, where the masks
            are given out, "Annotations".
        split: "valid" or "test". The file of "valid" also lists the videos of "test", which are
            left out where that file is there.

    Returns:
        One record per video, expression and frame, with "texts" of one sentence; with
        "mask_file_name" and "object_id" where the truth is there.
    """
    folder = root / "meta_expressions"
    videos = read_json(folder / split / "meta_expressions.json", "videos")["videos"]
    listed = folder / "test" / "meta_expressions.json"
    if split == "valid" and listed.is_file():
        tested = read_json(listed, "videos")["videos"]
        videos = {video: content for video, content in videos.items() if video not in tested}
    return [
        _expression_record(root / split, video, number, expression, frame)
        for video, content in videos.items()
        for number, expression in content["expressions"].items()
        for frame in content["frames"]
    ]


def _expression_record(
    root: Path, video: str, number: str, expression: Mapping[str, Any], frame: str
) -> dict:
    record = _frame_record(root, video, frame)
    record.update(expression_id=number, texts=[expression["exp"].strip()])
    mask_file = _mask_file(root, video, frame)
    if "obj_id" in expression and (root / "Annotations").is_dir():
        record.update(mask_file_name=mask_file, object_id=int(expression["obj_id"]))
    return record


def _mask_file(root: Path, video: str, frame: str) -> str:
    return str(root / "Annotations" / video / f"{frame}.png")


def _frame_record(root: Path, video: str, frame: str, images: Optional[Path] = None) -> dict:
    folder = images or root / "JPEGImages"
    return {
        "file_name": str(folder / video / f"{frame}.jpg"),
        "video_id": video,
        "frame": frame,
        "task": Task.REFERRING,
        "vocabulary": None,
    }


def davis_records(root: Path, split: str = "val") -> List[dict]:
    """Reads Ref-DAVIS17.

    Args:
        root: of DAVIS 2017 ("JPEGImages/480p", "Annotations_unsupervised/480p",
            "ImageSets/2017/<split>.txt") with "davis_text_annotations" in it.
        split: "val".

    Returns:
        One record per run, video and frame: "texts", a sentence for each object in the order of
        the objects, "expression_id", the run, and "label_file_name", a map of object numbers.

    Raises:
        ValueError: a line that is no expression, or an object without one.
    """
    videos = read_lines(root / "ImageSets" / "2017" / f"{split}.txt")
    records = []
    for run in DAVIS_RUNS:
        sentences = _davis_sentences(
            root / "davis_text_annotations" / f"Davis17_{run}.txt", set(videos)
        )
        for video in videos:
            images = root / "JPEGImages" / "480p"
            for image in sorted((images / video).glob("*.jpg")):
                record = _frame_record(root, video, image.stem, images)
                labels = root / "Annotations_unsupervised" / "480p" / video / f"{image.stem}.png"
                record.update(
                    expression_id=run, texts=sentences[video], label_file_name=str(labels)
                )
                records.append(record)
    return records


def _davis_sentences(path: Path, videos: set) -> Dict[str, List[str]]:
    found: Dict[str, Dict[int, str]] = defaultdict(dict)
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        parsed = _davis_line(line)
        if parsed is None:
            raise ValueError(f"{path}, line {number}: expected video, object, phrase: {line!r:.80}")
        video, thing, sentence = parsed
        if video in videos:
            found[video][thing] = sentence
    for video in videos:
        if sorted(found[video]) != list(range(1, len(found[video]) + 1)) or not found[video]:
            raise ValueError(
                f"{path}: objects {sorted(found[video])} of video '{video}' have an expression, "
                "expected 1, 2, ..."
            )
    return {video: [of[thing] for thing in sorted(of)] for video, of in found.items()}


def _davis_line(line: str) -> Optional[Tuple[str, int, str]]:
    match = _DAVIS_LINE.match(line)
    if match is None or not match[3].strip():
        return None
    return match[1], int(match[2]), match[3].strip()
