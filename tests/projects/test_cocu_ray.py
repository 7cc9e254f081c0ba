"""Curation by actors: the files of one process; with a cluster, if there is one, and without."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from segplugins.annotation.ray_backend import map_on_ray
from segplugins.projects.cocu.curation.embed import find_shards
from segplugins.projects.cocu.curation.job import Curation
from segplugins.projects.cocu.curation.options import ArchiveOptions
from segplugins.projects.cocu.curation.ray_run import FileMaker, run_on_ray
from segplugins.projects.cocu.curation.stages import STAGES
from segplugins.projects.cocu.curation.work import Work
from tests.projects.test_cocu_job import WORDS, contents, make_shards


@pytest.fixture
def make(tmp_path):
    """Returns work and options of a curation of three shards into a folder of a name."""
    shards = make_shards(tmp_path / "data", shards=3, each=4)
    options = ArchiveOptions(vocabulary=", ".join(WORDS), neighbours=3)

    def work(name):
        folder = tmp_path / name
        return Work(
            shards, folder / "embeddings", folder / "archive", "convnext_drawn", "", batch=4
        )

    return lambda name: (work(name), options)


def test_actors_make_the_files_they_are_handed_as_one_process_does(make, tmp_path):
    Curation(*make("whole")).run()
    curation = Curation(*make("actors"))
    maker = FileMaker(*make("actors"))
    for name in STAGES:
        stage = curation.stage(name)
        stage.prepare()
        files = {"stage": np.array([name] * 3), "file": np.array(stage.files)}
        assert maker(files) == {"file": stage.files}
        assert maker(files) == {"file": []}  # they stand
    assert contents(tmp_path / "actors") == contents(tmp_path / "whole")


def test_a_missing_package_or_no_worker_is_one_line(make, monkeypatch):
    curation = Curation(*make("none"))
    with pytest.raises(ValueError, match="workers is 0, expected 1 or more"):
        run_on_ray(curation, workers=0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="--ray needs Ray Data: pip install 'ray"):
        run_on_ray(curation, workers=1)
    with pytest.raises(ImportError, match="extra \\[ray\\]"):
        next(map_on_ray(FileMaker, (), [{"a": 1}], workers=1))


def test_a_local_cluster_of_two_workers_gives_the_same_files(make, tmp_path):
    for package in ("ray", "pandas", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}, of ray[data], extra [ray]")
    Curation(*make("whole")).run()
    work, options = make("ray")
    command = [
        sys.executable,
        "tools/curate_concepts.py",
        *("--data", str(tmp_path / "data" / "*.tar"), "--out", str(tmp_path / "ray")),
        *("--embedder", "convnext_drawn", "--batch", "4", "--vocabulary", options.vocabulary),
        *("--neighbours", "3", "--workers", "2", "--ray"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert find_shards([str(tmp_path / "data" / "*.tar")]).names == work.shards.names
    assert contents(tmp_path / "ray") == contents(tmp_path / "whole")
