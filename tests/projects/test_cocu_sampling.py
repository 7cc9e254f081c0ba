"""Concepts of a step: samplers, and their way from side-cars into the losses."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from segplugins.config import add_shared_config
from segplugins.projects.cocu import add_config
from segplugins.projects.cocu.sampling import SAMPLERS, draw_captions

ROOT = Path(__file__).resolve().parents[2]
SCORES = [math.log(8), math.log(4), math.log(2), 0.0]
ARCHIVE = {"concepts": ["a", "b", "c", "d"], "scores": SCORES, "clusters": [0, 1, 0, 2]}


def draws(name, count, archive=ARCHIVE, times=3000):
    generator = np.random.default_rng(0)
    return [SAMPLERS[name](archive, count, generator) for _ in range(times)]


def test_one_concept_of_each_cluster_by_the_softmax_within():
    drawn = draws("cluster", 3)
    assert {tuple(row[1:]) for row in drawn} == {("b", "d")}
    first = Counter(row[0] for row in drawn)
    assert first["a"] / 3000 == pytest.approx(8 / 10, abs=0.03) and set(first) == {"a", "c"}
    two = Counter(tuple(row) for row in draws("cluster", 2))
    without_d = sum(count for row, count in two.items() if "d" not in row)
    assert without_d / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_the_best_concepts_are_the_same_at_every_step():
    assert {tuple(row) for row in draws("topk", 3, times=5)} == {("a", "b", "c")}


def test_clusters_of_the_released_code_come_with_replacement_by_their_means():
    drawn = draws("cluster_code", 3)
    counts = Counter(name for row in drawn for name in row)
    means = np.exp([(SCORES[0] + SCORES[2]) / 2, SCORES[1], SCORES[3]])
    cluster = means / means.sum()
    expected = {"a": 0.8 * cluster[0], "b": cluster[1], "c": 0.2 * cluster[0], "d": cluster[2]}
    for name, chance in expected.items():
        assert counts[name] / 9000 == pytest.approx(chance, abs=0.02)
    assert any(len(set(row)) < 3 for row in drawn)


def test_different_concepts_by_score_or_alike():
    assert all(len(set(row)) == 2 for row in draws("softmax", 2) + draws("uniform", 2))
    first = Counter(row[0] for row in draws("softmax", 1))
    assert first["a"] / 3000 == pytest.approx(8 / 15, abs=0.03)
    even = Counter(name for row in draws("uniform", 2) for name in row)
    assert all(even[name] / 3000 == pytest.approx(0.5, abs=0.03) for name in "abcd")


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("size", [0, 1, 2])
def test_small_archives_give_what_they_have(name, size):
    archive = {key: values[:size] for key, values in ARCHIVE.items()}
    for row in draws(name, 3, archive, times=20):
        assert set(row) <= set("ab"[:size])
        assert len(row) == (size if name != "cluster_code" or not size else 3)


def test_retrieved_captions_stand_for_concepts():
    archive = {**ARCHIVE, "captions": ["one", "two"]}
    drawn = draw_captions(archive, 3, np.random.default_rng(0))
    assert sorted(drawn) == ["one", "two"]
    with pytest.raises(ValueError, match="needs an archive with retrieved captions"):
        draw_captions(ARCHIVE, 3, np.random.default_rng(0))


@pytest.fixture(scope="module")
def model():
    cfg = get_cfg()
    add_shared_config(cfg)
    add_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "cocu" / "tiny.yaml"))
    return build_model(cfg)


def test_a_step_takes_the_concepts_of_the_archive_and_the_caption_where_they_are_few(model):
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    record = {"image": image, "captions": ["a caption"], "tags": ["tag"], "sidecar": ARCHIVE}
    model.sampler = "topk"
    captions, (row,), described = model.draw_texts([record])
    assert captions == ["a caption"] and described == [0]
    for prompt, name in zip(row, "abc"):
        assert any(template.replace("{}", name) == prompt for template in model.templates)
    few = {**record, "sidecar": {key: values[:1] for key, values in ARCHIVE.items()}}
    _, (row,), _ = model.draw_texts([few])
    assert row[1:] == ["a caption"] * 2 and row[0] != "a caption"
    empty = {**record, "sidecar": {key: [] for key in ARCHIVE}}
    assert model.draw_texts([empty])[1] == [["a caption"] * 3]
    _, (row,), _ = model.draw_texts([{**record, "sidecar": None}])
    assert "tag" in row[0]


def test_draws_follow_torchs_generator_and_captions_are_no_prompts(model):
    model.sampler = "cluster"
    record = {"captions": ["a caption"], "sidecar": {**ARCHIVE, "captions": ["one", "two"]}}
    torch.manual_seed(3)
    first = [model.draw_concepts(record) for _ in range(5)]
    torch.manual_seed(3)
    assert [model.draw_concepts(record) for _ in range(5)] == first
    model.sampler = "captions"
    assert sorted(model.draw_concepts(record)) == ["one", "two"]
    with pytest.raises(ValueError, match="needs an archive with retrieved captions"):
        model.draw_concepts({"captions": ["a"], "sidecar": ARCHIVE})


def test_the_samplers_of_the_config_are_those_that_are():
    from segplugins.projects.cocu.config import RANGES
    from segplugins.projects.cocu.sampling import CAPTIONS

    assert RANGES["MODEL.COCU.SAMPLER"] == (*SAMPLERS, CAPTIONS)
    assert json.loads(json.dumps(ARCHIVE)) == ARCHIVE
