"""Pictures of files to a folder of results, which survives bad files and can be gone on with."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from tqdm import tqdm

from segplugins.engine.media import Frame, count_frames, is_video, read_frames
from segplugins.engine.videos import label_video
from segplugins.files.write import probe_folder, write_json

from .questions import Question
from .segmenter import Segmenter, batches
from .write import write_result

# Hidden, so that no picture's results can have its name.
IDENTITY_FILE = ".segplugins_run.json"
_PARTS = {
    "weights": "other weights",
    "config": "another config",
    "model": "another model",
    "question": "another vocabulary or other prompts",
    "options": "other options",
}


@dataclass
class Outcome:
    """What became of the pictures.

    Args:
        written: pictures segmented now.
        kept: pictures whose results stood there already.
        skipped: (file, reason) of files that could not be read, or not to their end.
    """

    written: int = 0
    kept: int = 0
    skipped: List[Tuple[Path, str]] = field(default_factory=list)


def segment_files(
    model: Segmenter,
    question: Question,
    files: Sequence[Path],
    output: Path,
    *,
    batch_size: int = 4,
    threshold: Optional[float] = None,
    windows: bool = False,
) -> Outcome:
    """Segments files; writes `<name>.json` and what `write_result` writes for every picture.

    A video also gets `<name>.overlay.mp4` of its overlays, which runs as the video does.

    A picture whose JSON stands already is left alone, so that a stopped run goes on where it was. A
    file that cannot be read is skipped and told in the outcome.

    Args:
        model: of `segplugins.load`.
        question: of `model.ask`.
        files: of `segplugins.engine.media.find_media`.
        output: folder of the results; a video gets one of its own in it. `open_folder` has checked
            it.
        batch_size: pictures the model sees at once.
        threshold: see `Segmenter.__call__`.
        windows: see `Segmenter.answer`.

    Raises:
        ValueError: the model does not answer such a question.
    """
    outcome = Outcome()
    frames = _wanted(files, output, outcome)
    pending: List[Future] = []
    style = {} if threshold is None else {"min_score": threshold}
    with (
        ThreadPoolExecutor(max_workers=4) as writers,
        tqdm(total=count_frames(files), unit="picture") as progress,
    ):
        for batch in batches(frames, batch_size):
            results = model.answer(batch, question, threshold=threshold, windows=windows)
            # One batch is written while the next is segmented, and no more are in memory.
            _finish(pending)
            pending = [writers.submit(write_result, output, each, **style) for each in results]
            outcome.written += len(batch)
            progress.update(outcome.written + outcome.kept - progress.n)
        _finish(pending)
        progress.update(outcome.written + outcome.kept - progress.n)
    for file in filter(is_video, files):
        _label(file, output, outcome)
    return outcome


def open_folder(
    output: Path,
    model: Segmenter,
    question: Question,
    *,
    threshold: Optional[float] = None,
    windows: bool = False,
) -> None:
    """Makes a folder of results, or checks that the one that is there is of the same run.

    Raises:
        ValueError: it was written with other weights, another config, other words or options.
        OSError: nothing can be written there.
    """
    check_writable(output)
    identity = {
        **(model.settings.identity or {}),
        "question": question.identity,
        "options": {"threshold": threshold, "windows": windows},
    }
    path = output / IDENTITY_FILE
    used = any(file.name != IDENTITY_FILE for file in output.rglob("*.json"))
    if used and path.is_file():
        _check_same(json.loads(path.read_text(encoding="utf-8")), identity, output)
        return
    if used:
        raise ValueError(
            f"'{output}' holds JSON files of another program or of an older version; choose "
            "another folder with --output, or remove it"
        )
    write_json(path, identity)


def check_writable(output: Path) -> None:
    """Raises OSError where nothing can be written into a folder; it is not made."""
    try:
        probe_folder(output)
    except OSError as error:
        raise OSError(
            f"nothing can be written into '{output}' ({error.strerror}); choose another folder "
            "with --output"
        ) from error


def _check_same(before: Dict[str, Any], now: Dict[str, Any], output: Path) -> None:
    differing = [
        f"{words} ({_short(before.get(key))}, now {_short(now.get(key))})"
        for key, words in _PARTS.items()
        if before.get(key) != now.get(key)
    ]
    if differing:
        file = before.get("weights_file")
        told = f"; its weights were '{file}'" if file else ""
        raise ValueError(
            f"'{output}' was written with {' and '.join(differing)}{told}. Choose another folder "
            "with --output, or remove it"
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _finish(pending: Sequence[Future]) -> None:
    for write in pending:
        write.result()


def _wanted(files: Sequence[Path], output: Path, outcome: Outcome) -> Iterator[Frame]:
    """Yields the frames without a result; counts the others and the files that are not readable."""
    for file in files:
        if not is_video(file) and _is_finished(output, file.stem):
            outcome.kept += 1  # an image is not even read again
            continue
        try:
            for frame in read_frames(file):
                if is_video(file) and _is_finished(output, frame.name):
                    outcome.kept += 1
                else:
                    yield frame
        except (ValueError, OSError) as error:
            outcome.skipped.append((file, str(error).removeprefix(f"{file}: ")))


def _label(video: Path, output: Path, outcome: Outcome) -> None:
    """Writes the labelled video, unless it is there and newer than the overlays of its frames."""
    pictures = sorted((output / video.stem).glob("*.overlay.jpg"))
    path = output / f"{video.stem}.overlay.mp4"
    if not pictures:
        return  # no frame of it could be read, which is told already
    if path.is_file() and path.stat().st_mtime >= max(p.stat().st_mtime for p in pictures):
        return
    try:
        label_video(video, pictures, path)
    except OSError as error:
        outcome.skipped.append((video, str(error)))


def _is_finished(output: Path, name: str) -> bool:
    return (output / f"{name}.json").is_file()
