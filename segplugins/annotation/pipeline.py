"""Annotator: a recipe over a data set, by any number of processes, resumed where it stopped.

<output>/manifest.json          what the run is: recipe, models, vocabulary, images
<output>/regions/part-*.jsonl   region lines, a shard each; images left out have "error"
<output>/audit/part-*.jsonl     a line per decision: what was kept or dropped, at which value
<output>/data.yaml              describes the result as a data set of kind "regions"
"""

import multiprocessing
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import torch
import yaml

from segplugins.annotation.inputs import Inputs, PartInputs, inputs_digest
from segplugins.annotation.ray_backend import run_on_ray
from segplugins.annotation.recipe import Recipe
from segplugins.annotation.sample import SCHEMA_VERSION
from segplugins.annotation.shard import (
    AUDIT,
    RECORDS,
    Failure,
    ShardPlan,
    Stages,
    finished_images,
    make_shard,
)
from segplugins.files.jobs import JobFolder
from segplugins.files.json_file import parse_json
from segplugins.files.region_shards import (
    ENDINGS,
    numbered_records,
    pyarrow_parts,
    shard_files,
)
from segplugins.files.write import write_text
from segplugins.processes import be_a_worker
from segplugins.structures.regions import Task

_ROOM = 2_000  # bytes of output per image, a low estimate
_POLL = 0.2  # seconds
DATA_FILE = "data.yaml"


@dataclass
class Outcome:
    """What became of the images.

    Args:
        images: of all shards that are finished.
        made: of the shards made now.
        unfinished: shards that another runner is still making.
        failures: images that were left out, of finished shards.
    """

    images: int = 0
    made: int = 0
    unfinished: int = 0
    failures: List[Failure] = field(default_factory=list)


class Annotator:
    """Annotates images by a recipe.

    Args:
        recipe: its models are checked here, and the folder is claimed, before anything is computed.
        inputs: images.
        folder: of the output.
        shard_size: most images of a shard.
        ending: ".jsonl" or ".parquet".

    Raises:
        OtherJob: the folder holds the output of another recipe, other models or other images.
        OSError, ValueError, ImportError: the folder cannot be written, weights are missing, ...

    Example:
        >>> recipe = read_recipe("configs/annotation/drawn.yaml", KINDS)
        >>> inputs = FolderInputs(Path("datasets/drawn/images/val"))
        >>> Annotator(recipe, inputs, "output/annotated").run().images
        300
    """

    def __init__(
        self,
        recipe: Recipe,
        inputs: Inputs,
        folder: Union[str, Path],
        *,
        shard_size: int = 1000,
        ending: str = ".jsonl",
    ):
        if shard_size < 1:
            raise ValueError(f"shard_size is {shard_size}, expected 1 or more")
        if ending not in ENDINGS:
            raise ValueError(f"shards end in {ending!r}, expected one of {', '.join(ENDINGS)}")
        if ending == ".parquet":
            pyarrow_parts()
        recipe.check_models()
        settings = recipe.settings
        if settings.fraction < 1:
            inputs = PartInputs(inputs, settings.fraction, settings.seed)
        self.recipe, self.inputs = recipe, inputs
        self.plan = ShardPlan(len(inputs), shard_size, ending)
        identity = {
            "schema": SCHEMA_VERSION,
            "recipe": recipe.identity(),
            "images": {
                "count": len(inputs),
                "source": inputs.source,
                "digest": inputs_digest(inputs),
            },
            "shards": {"size": shard_size, "ending": ending},
        }
        self.job = JobFolder(folder, identity, room=_ROOM * len(inputs))

    def run(
        self,
        *,
        processes: int = 1,
        devices: Sequence[str] = ("cpu",),
        ray: bool = False,
        progress: Callable[[int], Any] = lambda count: None,
    ) -> Outcome:
        """Makes the shards that are not there yet.

        Args:
            processes: that work at once; 1 = this one.
            devices: they take turns with them.
            ray: `processes` actors of a Ray cluster work instead; its device is the first.
            progress: called with the number of images that have been worked on since.

        Returns:
            What became of the images. `unfinished` is above 0 where another runner is at work.

        Raises:
            ChildProcessError: a process ended before its work did.
            ValueError: the stages fail on most images.
        """
        if processes < 1:
            raise ValueError(f"processes is {processes}, expected 1 or more")
        made = 0
        if self.job.unfinished(self.plan.names):
            if ray:
                device = devices[0].partition(":")[0]
                made = run_on_ray(self, workers=processes, device=device, progress=progress)
            elif processes == 1:
                made = self.work(devices[0], progress)
            else:
                made = self._run_children(processes, devices, progress)
        outcome = self.outcome()
        outcome.made = made
        if not outcome.unfinished:
            self._write_data_yaml()
        return outcome

    def _write_data_yaml(self) -> None:
        """Writes data.yaml where it is missing or says something else; by one process at a time."""
        path, text = self.job.path(DATA_FILE), self.data_yaml()
        with self.job.claim(DATA_FILE) as is_ours:
            if is_ours or (path.exists() and path.read_text(encoding="utf-8") != text):
                write_text(path, text)

    def work(self, device: str, progress: Callable[[int], Any] = lambda count: None) -> int:
        """Makes shards in this process until none is free; returns how many images it worked on."""
        settings, made = self.recipe.settings, 0
        stages = Stages(
            self.recipe.build(device), Task(settings.task), settings.start, settings.batch_size
        )
        with torch.inference_mode():
            for number in range(self.plan.count):
                if make_shard(self.job, self.plan, number, self.inputs, stages, progress):
                    made += len(self.plan.positions(number))
        return made

    def _run_children(
        self, processes: int, devices: Sequence[str], progress: Callable[[int], Any]
    ) -> int:
        context = multiprocessing.get_context("spawn")
        counts = [context.Value("q", 0) for _ in range(processes)]
        stop = context.Event()
        children = [
            context.Process(
                target=_work, args=(self, devices[i % len(devices)], counts[i], stop), daemon=True
            )
            for i in range(processes)
        ]
        for child in children:
            child.start()
        reported = 0
        try:
            while any(child.is_alive() for child in children):
                time.sleep(_POLL)
                total = sum(count.value for count in counts)
                if total > reported:
                    progress(total - reported)
                reported = total
                _check_alive(children)
        except BaseException:
            stop.set()
            for child in children:
                child.terminate()
            raise
        finally:
            for child in children:
                child.join()
        _check_alive(children)
        total = sum(count.value for count in counts)
        if total > reported:
            progress(total - reported)
        return total

    def finished(self) -> Tuple[int, int]:
        """Returns how many images and how many shards are finished."""
        return finished_images(self.job, self.plan)

    def outcome(self) -> Outcome:
        """Returns what stands in the folder now."""
        images, shards = self.finished()
        outcome = Outcome(images=images, unfinished=self.plan.count - shards)
        for number in range(self.plan.count):
            path = self.job.path(self.plan.name(number))
            if path.exists():
                outcome.failures += self._failures(number, path)
        return outcome

    def _failures(self, number: int, path: Path) -> List[Failure]:
        """Returns the images that a finished shard leaves out.

        Raises:
            ValueError: the shard or its audit is damaged.
        """
        expected, count, failures = len(self.plan.positions(number)), 0, []
        for record in records_of_file(path):
            count += 1
            if "error" in record:
                failures.append(Failure(record["file_name"], str(record["error"])))
        with _made_again(path):
            if count != expected:
                raise ValueError(f"{path} holds {count} records, {expected} were written")
            if not self.job.path(self.plan.audit(number)).is_file():
                raise ValueError(f"{self.job.path(self.plan.audit(number))} is missing")
        return failures

    def data_yaml(self) -> str:
        """Returns the YAML that registers the result, for DATASETS.REGISTER."""
        task = self.recipe.settings.task
        return regions_yaml("annotated", self.job.folder, self.inputs.root, RECORDS, task)


def regions_yaml(prefix: str, folder: Path, images: Union[str, Path], lines: str, task: str) -> str:
    """Returns the YAML that registers region lines of an output folder as "prefix_folder".

    Args:
        prefix: of the data set's name.
        folder: where the YAML will stand.
        images: that file names are relative to.
        lines: file or folder beside the YAML.
        task: of the lines.
    """
    name = "".join(c if c.isalnum() else "_" for c in folder.resolve().name)
    described = {"images": str(Path(images).resolve()), "lines": lines, "task": task}
    content = {"kind": "regions", "sets": {f"{prefix}_{name}": described}}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _work(annotator: Annotator, device: str, count: Any, stop: Event) -> None:
    be_a_worker()
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))

    def add(images: int) -> None:
        with count.get_lock():
            count.value += images

    try:
        annotator.work(device, add)
    except (ValueError, OSError, ImportError) as error:  # what a user can put right: one line
        sys.exit(f"error: {error}")


def _check_alive(children: Sequence[Any]) -> None:
    for child in children:
        if child.exitcode not in (None, 0):
            raise ChildProcessError(
                f"an annotating process ended with exit code {child.exitcode}; what it said stands "
                "above. Finished shards are kept: the same command goes on"
            )


def records_of_file(path: Path) -> Iterator[Dict[str, Any]]:
    """Yields the records of one shard.

    Raises:
        ValueError: it is damaged; the message says how it is made again.
    """
    with _made_again(path):
        for number, record in numbered_records(path):
            place = f"{path}, line {number}"
            if isinstance(record, str):
                record = parse_json(record.encode(), place)
            if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
                raise ValueError(f"{place} is no record of an image")
            yield record


@contextmanager
def _made_again(path: Path) -> Iterator[None]:
    """Adds to the message about a damaged file what makes it again.

    Args:
        path: of a shard's records.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}; remove {path}, and the same command makes it again") from error


def records_of(folder: Union[str, Path]) -> Iterator[Dict[str, Any]]:
    """Yields the records of an output folder, image by image, those that were left out as well."""
    for path in shard_files(Path(folder) / RECORDS):
        yield from records_of_file(path)


def decisions_of(folder: Union[str, Path]) -> Iterator[Dict[str, Any]]:
    """Yields the decisions of an output folder as JSON data, image by image.

    Raises:
        ValueError: a file of decisions is damaged or missing.
    """
    for path in sorted((Path(folder) / AUDIT).glob("part-*.jsonl")):
        with _made_again(_records_beside(path)), path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                decision = parse_json(line.encode(), f"{path}, line {number}")
                if not isinstance(decision, dict) or "stage" not in decision:
                    raise ValueError(f"{path}, line {number} is no decision")
                yield decision


def _records_beside(audit: Path) -> Path:
    """Returns the file of records that belongs to a file of decisions."""
    folder = audit.parent.parent / RECORDS
    return next(iter(folder.glob(f"{audit.stem}.*")), folder / audit.name)


def image_decisions(folder: Union[str, Path]) -> Iterator[Tuple[str, List[Dict[str, Any]]]]:
    """Yields (image id, its decisions), image by image."""
    current: Optional[str] = None
    listed: List[Dict[str, Any]] = []
    for decision in decisions_of(folder):
        if decision["image_id"] != current:
            if current is not None:
                yield current, listed
            current, listed = decision["image_id"], []
        listed.append(decision)
    if current is not None:
        yield current, listed
