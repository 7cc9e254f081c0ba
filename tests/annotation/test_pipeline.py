import gc
import json
import multiprocessing
import os
import random
import re
import signal
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Tuple

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from segplugins.annotation import pipeline
from segplugins.annotation.inputs import FolderInputs, LineInputs, PartInputs
from segplugins.annotation.interfaces import Detection
from segplugins.annotation.model_spec import ModelSpec
from segplugins.annotation.pipeline import Annotator, decisions_of, image_decisions, records_of
from segplugins.annotation.recipe import recipe_of
from segplugins.annotation.shard import Stages, read_batches
from segplugins.data import load_dataset
from segplugins.data.register_yaml import register_from_yaml
from segplugins.files.jobs import OtherJob


@dataclass(frozen=True, kw_only=True)
class BrightSpec(ModelSpec):
    """A detector of one box, as large as the image is bright."""

    kind: ClassVar[str] = "bright"
    roles: ClassVar[Tuple[str, ...]] = ("detector",)

    seconds: float = 0.0
    fails_on: str = ""
    log: str = ""

    def identity(self):
        return {"kind": self.kind}

    def build(self, device):
        return Bright(self)


class Bright:
    def __init__(self, spec):
        self.spec = spec

    def detect(self, images, names):
        time.sleep(self.spec.seconds * len(images))
        if self.spec.log:
            with open(self.spec.log, "a") as file:
                file.writelines(f"{image.file_name}\n" for image in images)
        if any(self.spec.fails_on and self.spec.fails_on in i.file_name for i in images):
            raise RuntimeError("no\nanswer")
        sides = [1 + float(image.pixels.mean()) / 16 for image in images]
        return [[Detection(names[0][0], (0, 0, s, s), 0.9)] for s in sides]


KINDS = {"bright": BrightSpec}


def recipe(batch_size=4, **options):
    return recipe_of(
        {
            "batch_size": batch_size,
            "task": "detection",
            "models": {"bright": {"kind": "bright", **options}},
            "stages": [
                {"detect": {"model": "bright", "names": ["thing"]}},
                {"filter_area": {"low": 0.1}},
            ],
        },
        KINDS,
    )


def draw(folder, count, size=(20, 16)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        grey = np.full((*size, 3), 40 + 8 * number % 200, np.uint8)
        PILImage.fromarray(grey).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def images(tmp_path):
    return draw(tmp_path / "images", 10)


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".claims" not in path.parts and path.name != "data.yaml"
    }


def test_images_become_shards_an_audit_and_a_set_to_train_on(images, tmp_path):
    counts = []
    annotator = Annotator(recipe(), FolderInputs(images), tmp_path / "out", shard_size=4)
    outcome = annotator.run(progress=counts.append)
    assert (outcome.images, outcome.made, outcome.unfinished) == (10, 10, 0)
    assert counts == [4, 4, 2] and not outcome.failures
    names = [path.name for path in sorted((tmp_path / "out" / "regions").iterdir())]
    assert names == ["part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl"]
    # The box of image n has sides 1 + (40 + 8 n) / 16; 0.1 of the image are 32 pixels: 5.66.
    kept = [bool(record["regions"]) for record in records_of(tmp_path / "out")]
    assert kept == [1 + (40 + 8 * n) / 16 >= 32**0.5 for n in range(10)] and 0 < sum(kept) < 10
    decisions = list(decisions_of(tmp_path / "out"))
    assert len(decisions) == 20 and decisions[0]["file_name"] == "000.png"
    assert [len(listed) for _, listed in image_decisions(tmp_path / "out")] == [2] * 10
    (name,) = register_from_yaml(tmp_path / "out" / "data.yaml")
    records = load_dataset(name)
    assert len(records) == 10 and Path(records[3]["file_name"]) == images / "003.png"
    assert records[9]["regions"][0].text == "thing" and records[9]["task"] == "detection"


def test_the_output_is_the_same_whatever_the_cuts_of_batches_and_processes(
    images, tmp_path, monkeypatch
):
    # Like spawned ones, these get everything pickled; their interpreter has its imports already.
    prepared = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: prepared)
    one = Annotator(recipe(), FolderInputs(images), tmp_path / "one", shard_size=3)
    one.run()
    two = Annotator(recipe(), FolderInputs(images), tmp_path / "two", shard_size=3)
    assert two.run(processes=2).images == 10
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_finished_shards_are_not_computed_again(images, tmp_path):
    log = tmp_path / "log.txt"
    make = lambda: Annotator(  # noqa: E731
        recipe(log=str(log)), FolderInputs(images), tmp_path / "out", shard_size=4
    )
    make().run()
    before = content(tmp_path / "out")
    asked = log.read_text().split()
    assert make().finished() == (10, 3) and make().run().made == 0
    assert log.read_text().split() == asked
    (tmp_path / "out" / "regions" / "part-00001.jsonl").unlink()
    assert make().run().made == 4
    assert log.read_text().split() == [*asked, *(f"{n:03d}.png" for n in range(4, 8))]
    assert content(tmp_path / "out") == before


def test_what_a_killed_process_left_of_the_description_is_removed(images, tmp_path):
    annotator = Annotator(recipe(), FolderInputs(images), tmp_path / "out", shard_size=4)
    stale = tmp_path / "out" / ".data.12-0.part.yaml"
    stale.write_text("sets:")
    annotator.run()
    assert not stale.exists()
    described = tmp_path / "out" / "data.yaml"
    before = described.stat().st_mtime_ns
    annotator.run()
    assert described.stat().st_mtime_ns == before
    described.write_text("sets: {}")
    annotator.run()
    assert described.read_text() == annotator.data_yaml()


def run_for_ever(images, out, seconds):
    Annotator(recipe(seconds=seconds), FolderInputs(images), out, shard_size=2).run()


def test_killed_at_random_and_restarted_the_output_is_byte_identical(tmp_path):
    images = draw(tmp_path / "images", 16)
    Annotator(recipe(), FolderInputs(images), tmp_path / "whole", shard_size=2).run()
    context = multiprocessing.get_context("fork")
    out, draws, finished = tmp_path / "out", random.Random(0), set()
    for _ in range(10):
        process = context.Process(target=run_for_ever, args=(images, out, 0.02))
        process.start()
        time.sleep(draws.uniform(0.02, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        standing = {p: p.stat().st_mtime_ns for p in out.glob("regions/part-*.jsonl")}
        assert finished <= set(standing.items())  # none was written again
        finished = set(standing.items())
    run_for_ever(images, out, 0.0)
    assert finished <= {(p, p.stat().st_mtime_ns) for p in out.glob("regions/part-*.jsonl")}
    assert content(out) == content(tmp_path / "whole")


def test_two_runners_on_one_job_never_make_a_shard_twice(tmp_path):
    images, log = draw(tmp_path / "images", 24), tmp_path / "log.txt"

    def work():
        Annotator(
            recipe(seconds=0.002, log=str(log)), FolderInputs(images), tmp_path / "out",
            shard_size=2,
        ).run()  # fmt: skip

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert sorted(log.read_text().split()) == [f"{number:03d}.png" for number in range(24)]
    assert len(list(records_of(tmp_path / "out"))) == 24


def test_memory_does_not_grow_with_the_images(tmp_path):
    images = draw(tmp_path / "images", 160)
    grown, seen = [], 0

    def watch(count):
        nonlocal seen
        seen += count
        gc.collect()
        grown.append((seen, tracemalloc.get_traced_memory()[0]))

    # What Python and numpy hold, not the process: of a worker that has run other tests the
    # resident memory moves by megabytes.
    tracemalloc.start()
    try:
        Annotator(recipe(batch_size=8), FolderInputs(images), tmp_path / "out", shard_size=40).run(
            progress=watch
        )
    finally:
        tracemalloc.stop()
    # After the first shard everything that stays is there.
    (first, before), (last, after) = grown[5], grown[-1]
    assert last == 160 and (after - before) / (last - first) < 1024


def test_images_that_cannot_be_read_are_left_out_counted_and_named(images, tmp_path):
    (images / "000.png").write_bytes(b"no picture")
    whole = (images / "001.png").read_bytes()
    (images / "001.png").write_bytes(whole[: len(whole) // 2])
    (images / "002.jpg").write_bytes(b"")
    outcome = Annotator(recipe(), FolderInputs(images), tmp_path / "left", shard_size=4).run()
    assert outcome.images == 11
    assert [failure.file_name for failure in outcome.failures] == ["000.png", "001.png", "002.jpg"]
    assert all(failure.error and "\n" not in failure.error for failure in outcome.failures)
    records = list(records_of(tmp_path / "left"))
    assert len(records) == 11 and sum("error" in record for record in records) == 3
    (name,) = register_from_yaml(tmp_path / "left" / "data.yaml")
    assert len(load_dataset(name)) == 8


def test_an_image_on_which_a_stage_fails_costs_no_other_its_answer(images, tmp_path):
    annotator = Annotator(recipe(fails_on="005"), FolderInputs(images), tmp_path / "out")
    (failure,) = annotator.run().failures
    assert (failure.file_name, failure.error) == ("005.png", "1 detect: RuntimeError: no answer")
    whole = Annotator(recipe(), FolderInputs(images), tmp_path / "whole")
    whole.run()
    expected = [r for r in records_of(tmp_path / "whole") if r["file_name"] != "005.png"]
    assert [r for r in records_of(tmp_path / "out") if "error" not in r] == expected


def test_stages_that_fail_on_most_images_stop_the_run(images, tmp_path):
    annotator = Annotator(recipe(fails_on="png"), FolderInputs(images), tmp_path / "out")
    with pytest.raises(ValueError, match="the stages fail on most images of shard 0; the last"):
        annotator.run()
    assert annotator.finished() == (0, 0)


def test_names_that_collide_elsewhere_are_apart_here(tmp_path):
    one = draw(tmp_path / "images" / "a", 1)
    (tmp_path / "images" / "b").mkdir()
    content_of = (one / "000.png").read_bytes()
    (tmp_path / "images" / "b" / "000.png").write_bytes(content_of)
    (tmp_path / "images" / "000.png").write_bytes(content_of)
    PILImage.new("RGB", (16, 20)).save(tmp_path / "images" / "000.jpg")
    Annotator(recipe(), FolderInputs(tmp_path / "images"), tmp_path / "out").run()
    records = list(records_of(tmp_path / "out"))
    assert [record["file_name"] for record in records] == [
        "000.jpg", "000.png", "a/000.png", "b/000.png",
    ]  # fmt: skip
    assert len({record["image_id"] for record in records}) == 4


def test_another_recipe_other_images_and_other_shards_are_refused(images, tmp_path):
    make = lambda made, **more: Annotator(made, FolderInputs(images), tmp_path / "out", **more)  # noqa: E731
    make(recipe(), shard_size=4)
    with pytest.raises(OtherJob, match=r"recipe.batch_size is 2, was 4"):
        make(recipe(batch_size=2), shard_size=4)
    with pytest.raises(OtherJob, match=r"shards.size is 5, was 4"):
        make(recipe(), shard_size=5)
    PILImage.new("RGB", (16, 20)).save(images / "new.png")
    with pytest.raises(OtherJob, match=r"images.count is 11, was 10"):
        make(recipe(), shard_size=4)


def test_what_cannot_work_is_refused_before_anything_is_computed(images, tmp_path):
    with pytest.raises(ValueError, match="shard_size is 0, expected 1 or more"):
        Annotator(recipe(), FolderInputs(images), tmp_path / "out", shard_size=0)
    with pytest.raises(ValueError, match="shards end in '.csv', expected one of .jsonl"):
        Annotator(recipe(), FolderInputs(images), tmp_path / "out", ending=".csv")
    with pytest.raises(FileNotFoundError, match="no folder of images '.*none'"):
        FolderInputs(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        FolderInputs(tmp_path / "empty")
    assert not (tmp_path / "out").exists()
    annotator = Annotator(recipe(), FolderInputs(images), tmp_path / "out")
    with pytest.raises(ValueError, match="processes is 0, expected 1 or more"):
        annotator.run(processes=0)


def test_a_part_of_the_images_is_chosen_by_name(images):
    inputs = FolderInputs(images)
    half = PartInputs(inputs, 0.5, 0)
    assert [half.name(i) for i in range(len(half))] == [half[i].file_name for i in range(len(half))]
    again = PartInputs(inputs, 0.5, 0)
    assert list(half.descriptions()) == list(again.descriptions())
    assert 0 < len(half) < 10 and list(half.descriptions()) != list(
        PartInputs(inputs, 0.5, 1).descriptions()
    )
    assert len(PartInputs(inputs, 1.0, 0)) == 10
    with pytest.raises(ValueError, match=r"fraction 0.0 of 10 images chooses none"):
        PartInputs(inputs, 0.0, 0)


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_annotation_starts_from_boxes_or_regions_of_lines(images, tmp_path):
    mask = [[0.0, 0.0, 8.0, 0.0, 8.0, 10.0, 0.0, 10.0]]
    line = {
        "file_name": "000.png", "height": 20, "width": 16, "image_id": 7, "captions": ["grey"],
        "regions": [{"text": "a", "mask": mask}, {"text": "crowd", "mask": mask,
                    "extra": {"iscrowd": 1}}, {"text": "none"}],
    }  # fmt: skip
    inputs = LineInputs(write_lines(tmp_path / "in.jsonl", [line]), images)

    def start(kind):
        ((sample,),) = read_batches(inputs, [0], Stages([], start=kind))
        return sample

    (region,) = start("boxes").regions
    assert (region.text, region.box, region.mask) == ("a", (0, 0, 8, 10), None)
    assert [r.text for r in start("regions").regions] == ["a", "crowd", "none"]
    assert start("regions").captions == [{"text": "grey", "kept": True}]
    assert start("nothing").regions == [] and start("nothing").captions == []
    assert start("nothing").more == {"source_id": 7}


def test_annotations_of_another_size_leave_the_image_out(images, tmp_path):
    line = {"file_name": "000.png", "height": 21, "width": 16, "regions": []}
    inputs = LineInputs(write_lines(tmp_path / "in.jsonl", [line]), images)
    ((failure,),) = read_batches(inputs, [0], Stages([]))
    assert re.match(r"the image is 20x16, its annotations are of 21x16", failure.error)


def test_large_images_go_through_in_smaller_batches(tmp_path, monkeypatch):
    from segplugins.annotation import shard

    monkeypatch.setattr(shard, "_BATCH_PIXELS", 20 * 16 * 3)
    inputs = FolderInputs(draw(tmp_path / "images", 7))
    sizes = [len(batch) for batch in read_batches(inputs, range(7), Stages([], batch_size=5))]
    assert sizes == [3, 3, 1]
    assert not list(read_batches(inputs, [], Stages([])))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("regions", b'{"file_name": "a', "part-00000.jsonl, line 1 is not readable"),
        ("regions", b"", "part-00000.jsonl holds 0 records, 2 were written"),
        ("regions", b'{"file_name": "a"}\n' * 3, "holds 3 records, 2 were written"),
        ("regions", b"[1]\n", "line 1 is no record of an image"),
        ("regions", b'{"regions": []}\n', "line 1 is no record of an image"),
        ("regions", b"\xc3(", "it is not UTF-8"),
        ("audit", None, "audit/part-00000.jsonl is missing"),
        ("audit", b'{"stage": ', "audit/part-00000.jsonl, line 1 is not readable"),
        ("audit", b"[]\n", "audit/part-00000.jsonl, line 1 is no decision"),
    ],
)
def test_a_damaged_file_is_told_with_what_makes_it_again(tmp_path, name, content, message):
    inputs, out = FolderInputs(draw(tmp_path / "images", 3)), tmp_path / "out"
    assert Annotator(recipe(), inputs, out, shard_size=2).run().images == 3
    (out / name / "part-00000.jsonl").rename(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    if content is not None:
        (out / name / "part-00000.jsonl").write_bytes(content)
    expected = f"({message}).*; remove .*regions/part-00000.jsonl, and the"
    with pytest.raises(ValueError, match=expected):
        Annotator(recipe(), inputs, out, shard_size=2).run()
        list(decisions_of(out))
    (out / "regions" / "part-00000.jsonl").unlink()
    assert Annotator(recipe(), inputs, out, shard_size=2).run().made == 2
    assert (out / name / "part-00000.jsonl").read_bytes() == whole


def test_a_process_says_in_one_line_what_a_user_can_put_right(monkeypatch):
    class Fails:
        def work(self, device, add):
            raise ValueError("the disk is full")

    monkeypatch.setattr(pipeline, "be_a_worker", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    with pytest.raises(SystemExit) as end:
        pipeline._work(Fails(), "cpu", None, None)
    assert end.value.code == "error: the disk is full"
