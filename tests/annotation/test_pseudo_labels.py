"""A data set with few labels: its parts, its two recipes, and how many of its labels are right."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from segplugins.annotation.pseudo_labels import (
    agreement,
    annotator_of,
    mapping_of_counts,
    noisy_and_filtered,
    phrases_line,
    write_parts,
)
from segplugins.data.register_yaml import register_from_yaml
from segplugins.drawn_world import write_drawn_world
from segplugins.files.json_file import dump_json
from segplugins.files.lines import LineEntry, read_region_lines
from segplugins.structures.regions import Region, Task, encode_mask

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "annotation" / "drawn.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("few") / "drawn"
    none = {"val_unseen": 0, "pairs": 0, "clips": 0, "val_clips": 0}
    write_drawn_world(root, train=4, val=1, size=48, seed=0, **none)
    return root


def mask(x0, x1, size=(10, 20)):
    drawn = np.zeros(size, bool)
    drawn[2:8, x0:x1] = True
    return encode_mask(drawn)


def test_parts_are_the_first_pictures_and_the_others(world, tmp_path):
    write_parts(world, tmp_path, 1)
    names = {
        part: [
            e.file_name for e in read_region_lines(tmp_path / f"{part}.jsonl", task=Task.SALIENT)
        ]
        for part in ("labelled", "unlabelled", "all", "val")
    }
    files = [f"{number:06d}.png" for number in range(4)]
    assert names == {"labelled": files[:1], "unlabelled": files[1:], "all": files, "val": files[:1]}
    (entry,) = read_region_lines(tmp_path / "labelled.jsonl", task=Task.INSTANCE)
    assert entry.regions and all(r.is_thing and not r.extra for r in entry.regions)
    described = yaml.safe_load((tmp_path / "sets.yaml").read_text())["sets"]
    assert described["pseudo_filtered"]["lines"] == "filtered/regions"
    assert described["pseudo_kept"] == {**described["pseudo_filtered"], "least_kept": 0.5}
    assert described["pseudo_phrases"]["task"] == "referring"
    with pytest.raises(ValueError, match="4 labelled pictures, expected 1 to 3"):
        write_parts(world, tmp_path, 4)


def test_a_picture_is_asked_for_three_names_that_it_does_not_show():
    shown = [Region("b", mask=mask(1, 5)), Region("sky", mask=mask(1, 5), is_thing=False)]
    entry = LineEntry(5, "x", "x.png", 10, 20, Task.INSTANCE, shown)
    texts = [r["text"] for r in phrases_line(entry, list("abcdef") + ["sky"])["regions"]]
    # Five are absent: a, c, d, e, f; those of line 5 begin at 5 % 5 = 0. Stuff is not asked for.
    assert texts == ["b", "a", "c", "d"]
    entry.line = 3
    texts = [r["text"] for r in phrases_line(entry, list("abcdef") + ["sky"])["regions"]]
    assert texts == ["b", "e", "f", "a"]


def test_the_noisy_recipe_has_the_makers_of_the_filtered_one(world):
    recipes = noisy_and_filtered(RECIPE, world / "regions" / "train.jsonl", ["batch_size=3"])
    named = {key: [stage.name for stage in recipe.stages] for key, recipe in recipes.items()}
    assert named["noisy"] == ["tag_image", "detect", "segment_boxes", "caption_boxes"]
    assert [n for n in named["filtered"] if n in named["noisy"]] == named["noisy"]
    assert "verify_mask" in named["filtered"] and "decide" in named["filtered"]
    for recipe in recipes.values():
        assert recipe.settings.task == "instance" and recipe.settings.batch_size == 3


def test_unspoiled_answers_are_the_truth_and_train_as_instances(world, tmp_path):
    write_parts(world, tmp_path, 1)
    truth = world / "regions" / "train.jsonl"
    recipe = noisy_and_filtered(RECIPE, truth, ["models.looker.noisy_images=0"])["noisy"]
    assert annotator_of(recipe, world, tmp_path, "noisy").run().images == 3
    made, right, shown = agreement(tmp_path / "noisy", tmp_path / "unlabelled.jsonl")
    count = sum(
        len(e.regions) for e in read_region_lines(tmp_path / "unlabelled.jsonl", task=Task.INSTANCE)
    )
    assert (made, right, shown) == (count, 1.0, 1.0)
    (tmp_path / "filtered" / "regions").mkdir(parents=True)
    for name in register_from_yaml(tmp_path / "sets.yaml"):
        assert name.startswith("pseudo_")


def test_agreement_counts_regions_of_the_right_name_and_place(tmp_path):
    def line(*regions):
        listed = [{"text": text, "mask": its} for text, its in regions]
        return dump_json({"file_name": "x.png", "height": 10, "width": 20, "regions": listed})

    # Wide 10; the first of the annotations is 8 of 10 of it, the second 6 of 10 (IoU below 0.7).
    (tmp_path / "truth.jsonl").write_text(line(("car", mask(0, 10)), ("dog", mask(12, 16))) + "\n")
    folder = tmp_path / "made" / "regions"
    folder.mkdir(parents=True)
    listed = [("car", mask(0, 8)), ("car", mask(0, 6)), ("cat", mask(12, 16))]
    (folder / "part-00000.jsonl").write_text(line(*listed) + "\n")
    made, right, shown = agreement(tmp_path / "made", tmp_path / "truth.jsonl")
    assert (made, right, shown) == (3, pytest.approx(1 / 3), pytest.approx(1 / 2))
    (row,) = mapping_of_counts({"noisy": (made, right, shown)})
    assert row["right %"] == pytest.approx(100 / 3) and row["of what there is %"] == 50
