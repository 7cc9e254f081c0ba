"""Inputs, the plan of shards, and what becomes of samples on which stages fail."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from segplugins.annotation.inputs import (
    FolderInputs,
    Item,
    LineInputs,
    PartInputs,
    RecordInputs,
    draw_share,
    inputs_digest,
    start_from,
    unique_files,
)
from segplugins.annotation.interfaces import Image, View
from segplugins.annotation.sample import Decision, Sample, image_identity, prompt_box, rounded
from segplugins.annotation.shard import (
    Failure,
    ShardPlan,
    Stages,
    finished_images,
    make_shard,
    read_batches,
    read_sample,
)
from segplugins.annotation.stage import Stage
from segplugins.files.jobs import JobFolder
from segplugins.structures.regions import Region, Task, encode_mask


def draw(folder, names, size=(12, 16)):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", size[::-1], (10, 20, 30)).save(path)
    return folder


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# Inputs


def test_images_of_folders_in_folders_are_in_the_order_of_their_paths(tmp_path):
    root = draw(tmp_path / "set", ["b.png", "a/z.png", "a.png", "c/d/e.jpg"])
    inputs = FolderInputs(root)
    names = ["a.png", "a/z.png", "b.png", "c/d/e.jpg"]
    assert [inputs.name(n) for n in range(len(inputs))] == names == list(inputs.descriptions())
    assert inputs[1] == Item("a/z.png") and (inputs.root, inputs.source) == (str(root), "set")


def test_a_record_per_phrase_is_one_image_with_all_regions(tmp_path):
    folder = tmp_path / "images"
    records = [
        {"file_name": str(folder / "a" / "x.png"), "height": 4, "width": 6, "image_id": 3, "n": 1},
        {"file_name": str(folder / "b" / "y.png"), "n": 2},
        {"file_name": str(folder / "b" / ".." / "a" / "x.png"), "image_id": 9, "n": 3},
    ]
    records[0]["not_exhaustive"], records[2]["not_exhaustive"] = ["dog"], ["cat", "dog"]
    inputs = RecordInputs("set", records, lambda record: [Region(str(record["n"]))])
    assert (len(inputs), inputs.root, inputs.source) == (2, str(folder), "set")
    assert [inputs.name(n) for n in (0, 1)] == ["a/x.png", "b/y.png"]
    first, second = inputs[0], inputs[1]
    assert [region.text for region in first.regions] == ["1", "3"]
    more = {"source_id": 3, "not_exhaustive": ("dog", "cat")}
    assert (first.size, first.more) == ((4, 6), more)
    assert (second.size, second.more) == (None, {})
    assert [len(each["records"]) for each in unique_files(records)] == [2, 1]
    with pytest.raises(ValueError, match="data set 'set' holds no image"):
        RecordInputs("set", [], lambda record: [])


def test_a_digest_changes_with_order_and_with_what_is_known(tmp_path):
    class Listed:
        def __init__(self, *texts):
            self.texts = texts

        def descriptions(self):
            yield from self.texts

    made = [("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), ("a", "b\udc80")]
    digests = {inputs_digest(Listed(*texts)) for texts in made}
    assert len(digests) == 5 and all(len(each) == 16 for each in digests)
    line = {"file_name": "x.png", "height": 12, "width": 16, "regions": [{"text": "a"}]}
    root = draw(tmp_path / "images", ["x.png"])
    texts = set()
    for changes in ({}, {"regions": [{"text": "b"}]}, {"captions": ["c"]}):
        inputs = LineInputs(lines(tmp_path / "in.jsonl", {**line, **changes}), root)
        texts.add(inputs_digest(inputs))
    assert len(texts) == 3


def test_shares_are_drawn_evenly_and_for_ever():
    # SHA-256 of "" begins with e3b0c44298fc1c14.
    assert draw_share("") == pytest.approx(0xE3B0C44298FC1C14 / 2**64, abs=1e-15)
    shares = np.array([draw_share(str(n)) for n in range(2000)])
    counts, _ = np.histogram(shares, 10, (0, 1))
    assert counts.sum() == 2000 and counts.min() > 150 and counts.max() < 250


def test_a_part_is_the_names_drawn_below_the_fraction_and_parts_are_nested(tmp_path):
    inputs = FolderInputs(draw(tmp_path / "set", [f"{n:02d}.png" for n in range(20)]))
    chosen = {}
    for fraction in (0.3, 0.6):
        part = PartInputs(inputs, fraction, 5)
        chosen[fraction] = [part[n].file_name for n in range(len(part))]
        expected = [n for n in inputs.descriptions() if draw_share(f"5 {n}") < fraction]
        assert chosen[fraction] == expected == list(part.descriptions())
    assert set(chosen[0.3]) < set(chosen[0.6])


def test_boxes_leave_out_crowds_and_what_has_no_target():
    regions = (
        Region("box", (0, 0, 4, 4)),
        Region("crowd", (0, 0, 4, 4), extra={"iscrowd": 1}),
        Region("no crowd", (0, 0, 4, 4), extra={"iscrowd": 0}),
        Region("absent"),
    )
    item = Item("x.png", regions, (4, 4), {"source_id": 1})
    texts = {s: [r.text for r in start_from(item, s).regions] for s in ("nothing", "boxes")}
    assert texts == {"nothing": [], "boxes": ["box", "no crowd"]}
    assert start_from(item, "regions") == item and start_from(item, "boxes").more == item.more


# The plan


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(1, 20))
def test_shards_hold_every_image_once_and_all_but_the_last_are_full(images, size):
    plan = ShardPlan(images, size, ".jsonl")
    sizes = [len(plan.positions(number)) for number in range(plan.count)]
    assert [n for number in range(plan.count) for n in plan.positions(number)] == [*range(images)]
    assert all(each == size for each in sizes[:-1]) and all(0 < each <= size for each in sizes)


def test_names_of_shards():
    plan = ShardPlan(5, 2, ".parquet")
    assert plan.names == [f"regions/part-{n:05d}.parquet" for n in range(3)]
    assert plan.audit(12) == "audit/part-00012.jsonl"


# Stages over samples


class Marks(Stage):
    """Adds a region to every sample; fails on those that it is told."""

    def __init__(self, fails=(), error=RuntimeError):
        super().__init__(title="1 marks")
        self.fails, self.error, self.asked = fails, error, []

    def __call__(self, samples):
        self.asked.append([sample.image_id for sample in samples])
        for sample in samples:
            sample.add(Region("mark"))
            if sample.image_id in self.fails:
                raise self.error("no\n  answer")


def samples(count):
    return [Sample(Image(np.zeros((2, 3, 3), np.uint8), f"{n}.png"), str(n)) for n in range(count)]


def test_halves_are_asked_again_and_nothing_is_added_twice():
    stage, after = Marks(fails={"2"}), Marks()
    results = Stages([stage, after])(samples(5))
    assert stage.asked == [["0", "1", "2", "3", "4"], ["0", "1"], ["2", "3", "4"], ["2"],
                           ["3", "4"]]  # fmt: skip
    assert after.asked == [["0", "1", "3", "4"]]
    assert results[2] == Failure("2.png", "1 marks: RuntimeError: no answer", in_stage=True)
    for number in (0, 1, 3, 4):
        assert [r.extra["region_id"] for r in results[number].regions] == [0, 1]
        assert results[number].image_id == str(number)


@pytest.mark.parametrize(
    "error", [ValueError, ArithmeticError, ZeroDivisionError, IndexError, KeyError, TypeError]
)
def test_errors_of_one_image_cost_that_image(error):
    first, second = Stages([Marks({"1"}, error)])(samples(2))
    assert isinstance(first, Sample) and second.error.startswith(f"1 marks: {error.__name__}: ")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_errors_of_the_machine_stop_the_run(error):
    with pytest.raises(error):
        Stages([Marks({"1"}, error)])(samples(2))


@pytest.mark.parametrize(("fails", "made"), [(2, True), (3, False)])
def test_a_shard_is_made_while_no_more_than_half_of_its_images_fail(tmp_path, fails, made):
    inputs = FolderInputs(draw(tmp_path / "set", [f"{n}.png" for n in range(4)]))

    class Fails(Marks):
        def __call__(self, samples):
            if any(int(sample.image.file_name[0]) < fails for sample in samples):
                raise RuntimeError("no answer")

    job, plan = JobFolder(tmp_path / "out", {"n": 1}), ShardPlan(4, 4, ".jsonl")
    counts, stages = [], Stages([Fails()], batch_size=3)
    if made:
        assert make_shard(job, plan, 0, inputs, stages, counts.append)
        assert counts == [3, 1] and finished_images(job, plan) == (4, 1)
        assert not make_shard(job, plan, 0, inputs, stages)  # it stands
        records = [json.loads(r) for r in job.path(plan.name(0)).read_text().splitlines()]
        assert [record["file_name"] for record in records] == [f"{n}.png" for n in range(4)]
        assert records[1] == {
            "file_name": "1.png", "source": "set", "error": "1 marks: RuntimeError: no answer",
        }  # fmt: skip
    else:
        with pytest.raises(ValueError, match=r"of shard 0; the last is 2.png: 1 marks: Runtime"):
            make_shard(job, plan, 0, inputs, stages)
        assert finished_images(job, plan) == (0, 0)


def test_an_image_with_no_room_waits_for_the_next_batch(tmp_path, monkeypatch):
    from segplugins.annotation import shard

    root = draw(tmp_path / "set", ["a.png", "c.png"], (10, 10))
    draw(root, ["b.png"], (20, 20))
    for limit, sizes in ((500, [2, 1]), (499, [1, 1, 1]), (600, [3])):
        monkeypatch.setattr(shard, "_BATCH_PIXELS", limit)
        batches = list(read_batches(FolderInputs(root), range(3), Stages([])))
        assert [len(batch) for batch in batches] == sizes
        names = [each.image.file_name for batch in batches for each in batch]
        assert names == ["a.png", "b.png", "c.png"]


def started(tmp_path, start="regions", **more):
    root = draw(tmp_path / "images", ["x.png"])
    line = {"file_name": "x.png", "height": 12, "width": 16, "regions": [], **more}
    inputs = LineInputs(lines(tmp_path / "in.jsonl", line), root)
    return read_sample(inputs[0], inputs, start)


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (["a dog"], [{"text": "a dog", "kept": True}]),
        ("a dog", [{"text": "a dog", "kept": True}]),  # one text, not five letters
        ([{"text": "a", "score": 0.5}], [{"text": "a", "score": 0.5}]),
        ([], []),
        (None, []),
    ],
)
def test_captions_of_a_line_in_every_form(tmp_path, captions, expected):
    assert started(tmp_path, captions=captions, tags="dog").captions == expected
    assert started(tmp_path, captions=captions, tags="dog").tags == [{"name": "dog"}]
    assert started(tmp_path, "boxes", captions=captions).captions == []


def test_what_a_line_leaves_unannotated_is_told_where_its_regions_are_used(tmp_path):
    given = {"boxes": ["dog"], "regions": ["dog"], "nothing": []}
    for start, expected in given.items():
        sample = started(tmp_path, start, not_exhaustive=["dog"])
        assert sample.not_exhaustive == expected and sample.more.keys() == {"source_id"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"captions": [{"caption": "a"}]}, "a tag or caption is {'caption': 'a'}, expected a text"),
        (
            {"captions": [3]},
            "a tag or caption is {'text': 3, 'kept': True}, expected a text as its",
        ),
        ({"tags": [{"name": None}]}, "a tag or caption is {'name': None}, expected a text as its"),
        ({"tags": 5}, "tags or captions are 5, expected a list of texts"),
        ({"captions": {"text": "a"}}, "tags or captions are {'text': 'a'}, expected a list"),
    ],
)
def test_captions_without_text_leave_their_image_out(tmp_path, more, message):
    failure = started(tmp_path, **more)
    assert failure.file_name == "x.png" and failure.error.startswith(message)
    assert not failure.in_stage and isinstance(started(tmp_path, "nothing", **more), Sample)


def test_a_sample_is_the_picture_with_an_identity_of_name_and_content(tmp_path):
    sample = started(tmp_path, image_id=7)
    content = (tmp_path / "images" / "x.png").read_bytes()
    assert sample.image_id == image_identity("x.png", content) and sample.source == "in"
    assert sample.image.pixels[0, 0].tolist() == [10, 20, 30] and sample.image.size == (12, 16)
    assert sample.image.pixels.flags.writeable and sample.more == {"source_id": 7}
    failure = read_sample(Item("y.png"), FolderInputs(tmp_path / "images"), "nothing")
    assert failure == Failure("y.png", "No such file or directory")


# Samples and views


def test_a_box_is_asked_for_by_prompt_then_box_then_mask(sample, make):
    mask = encode_mask(make["rectangle"](3, 4, 20, 15))
    whole = Region("a", (1, 2, 30, 20), mask, extra={"prompt_box": [5, 6, 7, 8]})
    boxes = [whole, Region("a", (1, 2, 30, 20), mask), Region("a", None, mask)]
    expected = [(5, 6, 7, 8), (1, 2, 30, 20), (3, 4, 20, 15)]
    assert [prompt_box(region, sample.image) for region in boxes] == expected
    sample.regions = boxes
    assert sample.boxes([2, 0]).tolist() == [[3, 4, 20, 15], [5, 6, 7, 8]]
    assert sample.boxes([]).shape == (0, 4) and sample.bitmap(2).sum() == 17 * 11


def test_the_bitmap_of_a_box_is_what_it_touches(sample, add):
    add("a", (1.5, 2.5, 4.2, 5))
    rows, columns = np.nonzero(sample.bitmap(0))
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == (1, 2, 5, 5) and sample.bitmap(0).sum() == 12


def test_a_record_holds_what_is_set_aside_and_more(sample, add):
    add("a", (0, 0, 9, 9))
    assert "set_aside" not in sample.as_record(Task.REFERRING)
    sample.set_aside, sample.more = [Region("b", (1, 1, 2, 2))], {"source_id": 3}
    record = sample.as_record(Task.REFERRING)
    assert record["set_aside"][0]["box"] == [1, 1, 2, 2] and record["source_id"] == 3
    assert (record["schema_version"], record["source"], record["image_id"]) == (2, "source", "x-0")


def test_decisions_are_written_with_five_digits_and_no_infinite_number():
    decision = Decision("1 x", "a", False, 0.123456789, 0.5, 3, "why")
    assert decision.as_data() == {"stage": "1 x", "region_id": 3, "text": "a", "kept": False,
                                  "value": 0.12346, "threshold": 0.5, "note": "why"}  # fmt: skip
    values = (None, float("inf"), float("nan"), np.float32(0.5))
    assert [rounded(value) for value in values] == [None, None, None, 0.5]


@pytest.mark.parametrize(("fade", "expected"), [(0.0, [0, 240]), (0.25, [0, 210]), (1.0, [0, 120])])
def test_what_is_not_shown_goes_to_the_mean_by_its_fade(fade, expected):
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[:, 1] = 240  # the mean is 120
    shown = np.array([[True, False], [True, False]])
    assert View(Image(pixels), (0, 0, 2, 1), shown, fade).pixels()[0, :, 0].tolist() == expected


def test_a_pipe_is_left_out_and_does_not_stop_the_run(tmp_path):
    root = draw(tmp_path / "set", ["b.png"])
    os.mkfifo(root / "a.png")
    inputs = FolderInputs(root)
    failure = read_sample(inputs[0], inputs, "nothing")
    assert "a.png is a named pipe, expected a plain file" in failure.error
    assert not failure.in_stage and isinstance(read_sample(inputs[1], inputs, "nothing"), Sample)


def test_a_file_name_that_no_record_can_hold_is_refused_at_once(tmp_path):
    root = draw(tmp_path / "set", ["a.png", "line\nfeed %20 \U0001f600 .png"])
    assert len(FolderInputs(root)) == 2
    os.rename(root / "a.png", os.fsencode(root) + b"/a\xff.png")
    with pytest.raises(
        ValueError, match=r"the file name b'a.xff.png' is no UTF-8.*rename the file"
    ):
        FolderInputs(root)
