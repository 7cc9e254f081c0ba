"""Precision and recall of archives, by hand and on a drawn world."""

import numpy as np
import pytest

from segplugins.drawn_world import write_drawn_world
from segplugins.projects.cocu.curation.embed import find_shards, read_samples
from segplugins.projects.cocu.curation.job import Curation
from segplugins.projects.cocu.curation.options import ArchiveOptions
from segplugins.projects.cocu.curation.quality import (
    archive_quality,
    drawn_chances,
    stage_quality,
    tags_of,
)
from segplugins.projects.cocu.curation.work import Work


def test_precision_and_recall_by_hand():
    shown = [{"dog", "sky"}, {"sea", "sky", "boat"}]
    told = [{"dog"}, {"boat"}]
    chosen = [{"dog": 1, "boat": 1, "morning": 1}, {"sky": 0.5, "sea": 0.25}]
    quality = stage_quality(chosen, shown, told)
    assert quality.precision == pytest.approx(1.75 / 2.75)  # "morning" is not judged
    assert quality.recall == pytest.approx(1.75 / 5)
    assert quality.missing_recall == pytest.approx(0.75 / 3)
    assert quality.per_image == pytest.approx(2.75 / 2)


def test_chances_add_up_to_one_in_each_cluster():
    line = {"concepts": ["a", "b", "c"], "scores": [1.0, 1.0, 9.0], "clusters": [0, 0, 1]}
    assert drawn_chances(line) == pytest.approx({"a": 0.5, "b": 0.5, "c": 1.0})
    assert drawn_chances({"concepts": [], "scores": [], "clusters": []}) == {}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    write_drawn_world(
        root / "drawn", train=1, val=1, pairs=20, shard=10, clips=1, val_clips=1, size=64, seed=0
    )
    return root


def test_captions_alone_hide_what_the_tags_say_and_the_archive_recovers_some(
    world, tmp_path, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(world))
    shards = find_shards(["drawn_captions"])
    assert shards.captions_only
    work = Work(shards, tmp_path / "e", tmp_path / "a", "convnext_drawn", "")
    options = ArchiveOptions(vocabulary="drawn", expansion="none", ranking="naive")
    with monkeypatch.context() as patch:
        patch.setattr("segplugins.projects.cocu.curation.job.load_embedder", lambda *g: Colours())
        curation = Curation(work, options)
        curation.run()
        samples = [s for name in curation.names for s in read_samples(work.embeddings, name)]
        assert len(samples) == 20 and all(len(s["captions"]) == 1 for s in samples)
        shown = [
            tags
            for name in curation.names
            for tags in tags_of(shards, name, read_samples(work.embeddings, name))
        ]
        assert all(len(tags) >= 2 for tags in shown)
        quality = archive_quality(curation)
    # Its own concepts alone: the archive says what the captions say, and nothing that they omit.
    assert quality["archive"] == quality["captions"]
    assert quality["archive"].precision > 0.9 and quality["archive"].missing_recall == 0.0
    assert 0.0 < quality["archive"].recall < 0.7


class Colours:
    """An embedder whose vectors do not matter here."""

    fingerprint, width, has_text = "colours", 2, True

    def images(self, pictures):
        return np.tile(np.array([[0.6, 0.8]], np.float16), (len(pictures), 1))

    def texts(self, texts):
        return np.tile(np.array([[0.6, 0.8]], np.float32), (len(texts), 1))
