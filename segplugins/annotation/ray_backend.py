"""Ray Data instead of local processes: the same shards, made by the workers of a cluster.

Shards are rows of a data set of Ray, and a pool of actors, each with the models built once, makes
them. Claims, names and contents are those of local processes, so both may work on one folder, which
every machine must see, as it must see images and weights.
"""

import logging
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Sequence

import numpy as np
import torch

from segplugins.annotation.shard import Stages, make_shard
from segplugins.structures.regions import Task

if TYPE_CHECKING:
    from segplugins.annotation.pipeline import Annotator

logger = logging.getLogger(__name__)


def ray_parts() -> Any:
    """Returns ray with ray.data.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            "--ray needs Ray Data: pip install 'ray[data]', or install segplugins with its extra "
            f"[ray] ({error})"
        ) from error
    return ray


class ShardMaker:
    """An actor: builds the models of a recipe once and makes the shards it is handed.

    Args:
        annotator: of the run.
        device: "cpu" or "cuda", on which Ray has reserved the GPU that the actor sees.
    """

    def __init__(self, annotator: "Annotator", device: str):
        settings = annotator.recipe.settings
        self._annotator = annotator
        self._stages = Stages(
            annotator.recipe.build(device), Task(settings.task), settings.start, settings.batch_size
        )

    def __call__(self, batch: Dict[str, np.ndarray]) -> Dict[str, List[int]]:
        """Makes the shards of a batch and returns their numbers and images made."""
        numbers = [int(number) for number in batch["shard"]]
        made = []
        for number in numbers:
            with torch.inference_mode():
                is_ours = make_shard(
                    self._annotator.job,
                    self._annotator.plan,
                    number,
                    self._annotator.inputs,
                    self._stages,
                )
            made.append(len(self._annotator.plan.positions(number)) if is_ours else 0)
        return {"shard": numbers, "images": made}


def run_on_ray(
    annotator: "Annotator",
    *,
    workers: int,
    device: str = "cpu",
    progress: Callable[[int], Any] = lambda count: None,
) -> int:
    """Makes the shards that are not there yet on a cluster of Ray.

    Args:
        annotator: of the run; its folder, images and weights must be seen by all machines.
        workers: actors; each has a CPU, and a GPU where the device is "cuda".
        device: "cpu" or "cuda".
        progress: called with the number of images of each shard that is done.

    Returns:
        Images worked on.

    Raises:
        ImportError: ray is not installed.
        ValueError: workers is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected 1 or more")
    ray_parts()
    plan = annotator.plan
    todo = [n for n in range(plan.count) if not annotator.job.is_finished(plan.name(n))]
    items = [{"shard": number} for number in todo]
    total = 0
    for row in map_on_ray(ShardMaker, (annotator, device), items, workers=workers, device=device):
        total += int(row["images"])
        progress(int(row["images"]))
    return total


def map_on_ray(
    maker: type,
    arguments: Sequence[Any],
    items: Sequence[Dict[str, Any]],
    *,
    workers: int,
    device: str = "cpu",
) -> Iterator[Dict[str, Any]]:
    """Yields what actors make of items, one after the other, as they are done.

    Args:
        maker: class of the actors: called with a batch of one item, as columns, it returns columns.
        arguments: of its constructor.
        items: rows.
        workers: actors; each has a CPU, and a GPU where the device is "cuda".
        device: "cpu" or "cuda".

    Raises:
        ImportError: ray is not installed.
    """
    ray = ray_parts()
    if not items:
        return
    rows = ray.data.from_items(list(items), override_num_blocks=len(items))
    options = {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
    done = rows.map_batches(
        maker,
        fn_constructor_args=tuple(arguments),
        batch_size=1,
        concurrency=workers,
        **options,
    )
    yield from done.iter_rows()
