"""One shard: images read in a thread, taken through the stages, written as they come.

Memory holds a few batches, however many images there are: records and decisions go to their files
at once.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch

from segplugins.annotation.answers import checked_text
from segplugins.annotation.inputs import Inputs, Item, start_from
from segplugins.annotation.interfaces import Image
from segplugins.annotation.sample import (
    Decision,
    Sample,
    clipped,
    image_identity,
    prompt_box,
)
from segplugins.annotation.stage import Stage
from segplugins.files.faults import FaultError
from segplugins.files.jobs import JobFolder
from segplugins.files.pictures import read_picture
from segplugins.files.plain_files import read_plain_file
from segplugins.files.region_shards import writing_records
from segplugins.files.write import replacing
from segplugins.structures.regions import Region, Task

RECORDS, AUDIT = "regions", "audit"
_BATCH_PIXELS = 2**26  # of the images of one batch
_SYSTEMATIC = 0.5  # of a shard: if more images make stages fail, the fault is not the images'


@dataclass(frozen=True)
class Failure:
    """An image that is left out.

    Args:
        file_name: below the root of the images.
        error: what is wrong, in one line.
        in_stage: whether a stage failed, and not the reading.
    """

    file_name: str
    error: str
    in_stage: bool = False


@dataclass(frozen=True)
class ShardPlan:
    """How the images are cut into shards.

    Args:
        images: number of all.
        size: most images of a shard.
        ending: ".jsonl" or ".parquet".
    """

    images: int
    size: int
    ending: str

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-self.images // self.size)

    def name(self, number: int) -> str:
        """Returns the path of a shard's records below the output folder: it stands when all do."""
        return f"{RECORDS}/part-{number:05d}{self.ending}"

    def audit(self, number: int) -> str:
        """Returns the path of a shard's decisions."""
        return f"{AUDIT}/part-{number:05d}.jsonl"

    def positions(self, number: int) -> range:
        """Returns the positions of a shard's images among the inputs."""
        return range(number * self.size, min((number + 1) * self.size, self.images))

    @property
    def names(self) -> List[str]:
        """The paths of all shards."""
        return [self.name(number) for number in range(self.count)]


@dataclass
class Stages:
    """The stages of a recipe with what they need to know about the run.

    Args:
        stages: with their models.
        task: of the records.
        start: what is taken from the inputs.
        batch_size: images at once.
    """

    stages: Sequence[Stage]
    task: Task = Task.REFERRING
    start: str = "nothing"
    batch_size: int = 8

    def __call__(self, samples: Sequence[Sample]) -> List[Union[Sample, Failure]]:
        """Takes samples through all stages; one whose image makes a stage fail is left out."""
        results: List[Union[Sample, Failure]] = list(samples)
        for stage in self.stages:
            positions = [i for i, each in enumerate(results) if isinstance(each, Sample)]
            for position, failure in zip(positions, _apply(stage, [results[i] for i in positions])):
                if failure is not None:
                    results[position] = failure
        return results


def _apply(stage: Stage, samples: Sequence[Sample]) -> List[Optional[Failure]]:
    """Applies a stage; where it fails, to halves, so that one image costs no other its answer."""
    if not samples:
        return []
    states = [sample.state() for sample in samples]
    try:
        stage(samples)
        return [None] * len(samples)
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        if len(samples) == 1:
            reason = f"{stage.title}: {type(error).__name__}: {' '.join(str(error).split())}"
            return [Failure(samples[0].image.file_name, reason, in_stage=True)]
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
    for sample, state in zip(samples, states):
        sample.restore(state)
    half = len(samples) // 2
    return _apply(stage, samples[:half]) + _apply(stage, samples[half:])


def make_shard(
    job: JobFolder,
    plan: ShardPlan,
    number: int,
    inputs: Inputs,
    stages: Stages,
    progress: Callable[[int], Any] = lambda count: None,
) -> bool:
    """Makes one shard, unless it stands or another process makes it.

    Args:
        job: output folder.
        plan: how the images are cut.
        number: of the shard.
        inputs: all of them.
        stages: of the recipe.
        progress: called with the number of images after each batch.

    Returns:
        Whether it was made here.

    Raises:
        ValueError: the stages fail on most of its images; nothing is written then.
    """
    with job.claim(plan.name(number), plan.audit(number)) as is_ours:
        if not is_ours:
            return False
        # The records are renamed last: when they stand, the audit stands.
        with (
            writing_records(job.path(plan.name(number))) as add_record,
            replacing(job.path(plan.audit(number))) as audit,
            audit.open("w", encoding="utf-8", newline="\n") as decisions,
        ):
            failed = 0
            for batch in read_batches(inputs, plan.positions(number), stages):
                samples = [each for each in batch if isinstance(each, Sample)]
                results = iter(stages(samples))
                for each in batch:
                    result = next(results) if isinstance(each, Sample) else each
                    failed += isinstance(result, Failure) and result.in_stage
                    if failed > _SYSTEMATIC * len(plan.positions(number)):
                        raise ValueError(
                            f"the stages fail on most images of shard {number}; the last is "
                            f"{result.file_name}: {result.error}; mend the recipe or its models, "
                            "or remove the images that they cannot answer for"
                        )
                    add_record(_record(result, inputs, stages))
                    if isinstance(result, Sample):
                        decisions.writelines(_decision_lines(result))
                progress(len(batch))
    return True


def _record(result: Union[Sample, Failure], inputs: Inputs, stages: Stages) -> Dict[str, Any]:
    if isinstance(result, Sample):
        return result.as_record(stages.task)
    return {"file_name": result.file_name, "source": inputs.source, "error": result.error}


def _decision_lines(sample: Sample) -> Iterator[str]:
    name = {"image_id": sample.image_id, "file_name": sample.image.file_name}
    for decision in sample.decisions:
        yield json.dumps({**name, **decision.as_data()}, ensure_ascii=False) + "\n"


def read_batches(
    inputs: Inputs, positions: Sequence[int], stages: Stages
) -> Iterator[List[Union[Sample, Failure]]]:
    """Yields batches of samples, and failures where an image cannot be read, in order.

    The next batch is read while the caller works on one.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        places = iter(positions)
        held: List[Union[Sample, Failure]] = []
        pending = reader.submit(_read_batch, inputs, places, stages, held)
        while True:
            batch = pending.result()
            if not batch:
                return
            pending = reader.submit(_read_batch, inputs, places, stages, held)
            yield batch


def _read_batch(
    inputs: Inputs, places: Iterator[int], stages: Stages, held: List[Union[Sample, Failure]]
) -> List[Union[Sample, Failure]]:
    """Returns the next batch; `held` has the image that had no room in the one before."""
    batch, held[:] = list(held), []
    pixels = sum(_pixels(each) for each in batch)
    for position in places:
        each = read_sample(inputs[position], inputs, stages.start)
        if batch and pixels + _pixels(each) > _BATCH_PIXELS:
            held.append(each)
            return batch
        batch.append(each)
        pixels += _pixels(each)
        if len(batch) >= stages.batch_size:
            return batch
    return batch


def _pixels(each: Union[Sample, Failure]) -> int:
    return each.image.size[0] * each.image.size[1] if isinstance(each, Sample) else 0


def read_sample(item: Item, inputs: Inputs, start: str) -> Union[Sample, Failure]:
    """Returns the sample of an item, or a failure that says why its image cannot be read."""
    try:
        content = read_plain_file(Path(inputs.root) / item.file_name)
        picture = read_picture(content)
    except FaultError as error:
        return Failure(item.file_name, error.fault.message)
    except OSError as error:
        return Failure(item.file_name, error.strerror or str(error))
    # Models make tensors of it, which share its memory.
    pixels = np.require(picture.fitted(item.size), requirements=["C", "W"])
    image = Image(pixels, item.file_name)
    if item.size is not None and image.size != tuple(item.size):
        return Failure(
            item.file_name,
            f"the image is {image.size[0]}x{image.size[1]}, its annotations are of "
            f"{item.size[0]}x{item.size[1]} (height x width)",
        )
    sample = Sample(image, image_identity(item.file_name, content), inputs.source)
    return _started(sample, item, start)


def _started(sample: Sample, item: Item, start: str) -> Union[Sample, Failure]:
    more = dict(item.more)
    tags, captions = more.pop("tags", ()), more.pop("captions", ())
    partly = more.pop("not_exhaustive", ())
    sample.more = more
    if start != "nothing":
        sample.not_exhaustive += partly
    if start == "regions":
        try:
            sample.tags += _entries(tags, "name", {})
            sample.captions += _entries(captions, "text", {"kept": True})
        except ValueError as error:
            return Failure(item.file_name, str(error))
    for region in start_from(item, start).regions:
        try:
            if start == "boxes":
                region = replace(region, box=prompt_box(region, sample.image), mask=None)
            _add_given(sample, region)
        except ValueError as error:  # a mask that cannot be decoded
            return Failure(item.file_name, f"region '{region.text}': {error}")
    return sample


def _add_given(sample: Sample, region: Region) -> None:
    """Adds a region of a data set; its box is cut at the image, and dropped if nothing is left."""
    if region.mask is not None or region.box is None:
        sample.add(region)
        return
    box = tuple(clipped(np.asarray(region.box, np.float64), sample.image).tolist())
    is_inside = box[2] > box[0] and box[3] > box[1]
    if is_inside:
        sample.add(region if box == tuple(region.box) else replace(region, box=box))
    else:
        note = "no area inside the image"
        sample.decisions.append(Decision("start", region.text, False, note=note))


def _entries(given: Any, key: str, more: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Returns tags or captions of a source as the record has them: mappings with a text.

    Args:
        given: a text, or a list of texts and of mappings; None = none.
        key: of the text.
        more: what a mere text gets.

    Raises:
        ValueError: there is no text.
    """
    listed = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(listed, (list, tuple)):
        raise ValueError(f"tags or captions are {given!r:.60}, expected a list of texts")
    entries = [dict(each) if isinstance(each, dict) else {key: each, **more} for each in listed]
    for entry in entries:
        if not isinstance(entry.get(key), str):
            raise ValueError(f"a tag or caption is {entry!r:.60}, expected a text as its '{key}'")
        checked_text(entry[key])
    return entries


def finished_images(job: JobFolder, plan: ShardPlan) -> Tuple[int, int]:
    """Returns how many images and how many shards are finished."""
    done = [number for number in range(plan.count) if job.is_finished(plan.name(number))]
    return sum(len(plan.positions(number)) for number in done), len(done)
