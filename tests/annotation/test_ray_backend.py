import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PILImage

from segplugins.annotation.adapters import KINDS
from segplugins.annotation.inputs import FolderInputs
from segplugins.annotation.pipeline import Annotator
from segplugins.annotation.ray_backend import ShardMaker, run_on_ray
from segplugins.annotation.recipe import recipe_of


@pytest.fixture
def make(tmp_path):
    """Returns an annotator of ten grey images with tags from a file, into a folder of a name."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(10):
        PILImage.fromarray(np.full((20, 16), 20 * number, np.uint8)).save(images / f"{number}.png")
    tags = ", ".join(f'"{number}.png": {{"tags": "tag {number}"}}' for number in range(10))
    (tmp_path / "tags.json").write_text(f"{{{tags}}}")
    recipe = recipe_of(
        {
            "models": {"tags": {"kind": "file", "path": str(tmp_path / "tags.json")}},
            "stages": [{"tag_image": {"model": "tags"}}],
        },
        KINDS,
    )
    return lambda name: Annotator(recipe, FolderInputs(images), tmp_path / name, shard_size=3)


def content(annotator):
    folder = annotator.job.folder
    return {
        path.relative_to(folder): path.read_bytes()
        for part in ("regions", "audit")
        for path in sorted((folder / part).iterdir())
    }


def test_an_actor_makes_the_shards_it_is_handed_and_no_other(make):
    annotator, whole = make("actor"), make("whole")
    maker = ShardMaker(annotator, "cpu")
    assert maker({"shard": np.array([1, 3])}) == {"shard": [1, 3], "images": [3, 1]}
    assert maker({"shard": np.array([1])}) == {"shard": [1], "images": [0]}  # it stands
    assert annotator.finished() == (4, 2)
    maker({"shard": np.array([0, 2])})
    whole.run()
    assert content(annotator) == content(whole)


def test_a_missing_package_is_one_line(make, monkeypatch):
    annotator = make("none")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="--ray needs Ray Data: pip install 'ray"):
        annotator.run(ray=True)
    with pytest.raises(ValueError, match="workers is 0, expected 1 or more"):
        run_on_ray(annotator, workers=0)


# In a Python of its own: Ray leaves child processes to be ended when the interpreter goes.
CLUSTER = """
import pickle, sys
import ray
annotator = pickle.load(open(sys.argv[1], "rb"))
ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
counts = []
outcome = annotator.run(processes=2, ray=True, progress=counts.append)
print("made", outcome.images, outcome.made, sum(counts))
ray.shutdown()
"""


def test_a_local_cluster_of_two_workers_gives_the_same_records(make, tmp_path):
    for package in ("ray", "pandas", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}, of ray[data], extra [ray]")
    whole, annotator = make("whole"), make("ray")
    whole.run()
    (tmp_path / "annotator.pkl").write_bytes(pickle.dumps(annotator))
    command = [sys.executable, "-c", CLUSTER, str(tmp_path / "annotator.pkl")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert "made 10 10 10" in done.stdout, done.stdout[-2000:] + done.stderr[-3000:]
    assert content(annotator) == content(whole)
