"""Videos with referring expressions: Ref-YouTube-VOS and Ref-DAVIS17. A record is a frame."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from segplugins.files.faults import STRICT, Fault, FaultPolicy
from segplugins.files.plain_files import read_plain_file
from segplugins.files.text import read_lines
from segplugins.files.video_expressions import (
    VideoPhrase,
    read_video_expressions,
    read_video_objects,
    report_unknown_objects,
)
from segplugins.structures.regions import Task

# The four expressions of an object, in the order of the runs they are scored in.
DAVIS_RUNS = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")
_DAVIS_LINE = re.compile(r'^(\S+)\s+(\d+)\s+"?(.*?)"?\s*$')


def youtube_training_records(root: Path, policy: FaultPolicy = STRICT) -> List[dict]:
    """Reads the training split of Ref-YouTube-VOS.

    Args:
        root: holds "meta_expressions/train" and "train" with "meta.json", "JPEGImages" and
            "Annotations".
        policy: receives the faults of the two files.

    Returns:
        One record per video, object and frame that shows it; the sentence is drawn at each visit.
    """
    path = root / "meta_expressions/train/meta_expressions.json"
    videos = read_video_expressions(path, policy, with_objects=True)
    shown = read_video_objects(root / "train" / "meta.json", policy)
    unknown = set(report_unknown_objects(path, videos, shown, policy))
    records = []
    for name, video in videos.items():
        sentences = defaultdict(list)
        for phrase in video.phrases:
            sentences[phrase.object_id].append(phrase.text)
        for number, texts in sentences.items():
            frames = () if (name, number) in unknown else shown[name][number]
            for frame in (frame for frame in video.frames if frame in frames):
                record = _frame_record(root / "train", name, frame)
                record.update(
                    mask_file_name=_mask_file(root / "train", name, frame),
                    object_id=number,
                    sentences=texts,
                    expression_id=f"object {number}",
                )
                records.append(record)
    return records


def youtube_evaluation_records(root: Path, split: str, policy: FaultPolicy = STRICT) -> List[dict]:
    """Reads a split of Ref-YouTube-VOS for evaluation.

    Args:
        root: holds "meta_expressions/<split>" and "<split>" with "JPEGImages" and, where the masks
            are given out, "Annotations".
        split: "valid" or "test". The file of "valid" also lists the videos of "test", which are
            left out where that file is there.
        policy: receives the faults of the file.

    Returns:
        One record per video, expression and frame, with "texts" of one sentence; with
        "mask_file_name" and "object_id" where the truth is there.
    """
    folder = root / "meta_expressions"
    videos = read_video_expressions(folder / split / "meta_expressions.json", policy)
    listed = folder / "test" / "meta_expressions.json"
    if split == "valid" and listed.is_file():
        tested = read_video_expressions(listed, policy)
        videos = {name: video for name, video in videos.items() if name not in tested}
    with_truth = (root / split / "Annotations").is_dir()
    return [
        _expression_record(root / split, name, phrase, frame, with_truth=with_truth)
        for name, video in videos.items()
        for phrase in video.phrases
        for frame in video.frames
    ]


def _expression_record(
    root: Path, video: str, phrase: VideoPhrase, frame: str, *, with_truth: bool
) -> dict:
    record = _frame_record(root, video, frame)
    record.update(expression_id=phrase.number, texts=[phrase.text])
    if phrase.object_id is not None and with_truth:
        record.update(mask_file_name=_mask_file(root, video, frame), object_id=phrase.object_id)
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


def davis_records(root: Path, split: str = "val", policy: FaultPolicy = STRICT) -> List[dict]:
    """Reads Ref-DAVIS17.

    Args:
        root: of DAVIS 2017 ("JPEGImages/480p", "Annotations_unsupervised/480p",
            "ImageSets/2017/<split>.txt") with "davis_text_annotations" in it.
        split: "val".
        policy: receives the faults of the list of videos and of their folders.

    Returns:
        One record per run, video and frame: "texts", a sentence for each object in the order of
        the objects, "expression_id", the run, and "label_file_name", a map of object numbers.

    Raises:
        ValueError: a line that is no expression, or an object without one.
    """
    frames = _davis_frames(root, split, policy)
    records = []
    for run in DAVIS_RUNS:
        sentences = _davis_sentences(
            root / "davis_text_annotations" / f"Davis17_{run}.txt", set(frames)
        )
        for video, images in frames.items():
            for image in images:
                record = _frame_record(root, video, image.stem, image.parent.parent)
                labels = root / "Annotations_unsupervised" / "480p" / video / f"{image.stem}.png"
                record.update(
                    expression_id=run, texts=sentences[video], label_file_name=str(labels)
                )
                records.append(record)
    return records


def _davis_frames(root: Path, split: str, policy: FaultPolicy) -> Dict[str, List[Path]]:
    """Returns the pictures of each video that a split lists."""
    listed = root / "ImageSets" / "2017" / f"{split}.txt"
    frames = {}
    for video in read_lines(listed, policy):
        folder = root / "JPEGImages" / "480p" / video
        if video in (".", "..") or Path(video).name != video:
            policy.report(Fault("path", f"'{video}' is no name of a video", str(listed)))
        elif not (images := sorted(folder.glob("*.jpg"))):
            message = f"no .jpg of video '{video}', which {listed} lists; complete the data set"
            policy.report(Fault("missing", message, str(folder)))
        else:
            frames[video] = images
    return frames


def _davis_sentences(path: Path, videos: set) -> Dict[str, List[str]]:
    found: Dict[str, Dict[int, str]] = defaultdict(dict)
    # Two of the files are partly Latin-1.
    text = read_plain_file(path).decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), 1):
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
