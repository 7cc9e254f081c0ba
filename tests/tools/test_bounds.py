"""The tools' own functions: what their parsers take, where numbers end, and what they print."""

import argparse
import importlib.util
import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from segplugins.engine.command import run_command
from segplugins.prediction.folder import Outcome

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ends(capsys):
    """Runs a tool to its end; returns the exit status and the line of its error."""

    def call(tool, parser, *words):
        with pytest.raises(SystemExit) as end:
            run_command(tool.main, parser, argv=[str(word) for word in words])
        return end.value.code, capsys.readouterr().err.strip()

    return call


@pytest.mark.parametrize(
    "text, size",
    [("128", (128, 128)), ("96x128", (96, 128)), ("96X128", (96, 128)), ("0", (0, 0))],
)
def test_a_size_is_a_side_or_height_by_width(text, size):
    assert load("make_drawn_world").parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "96x", "1x2x3", "-5", "9.5", "96 x 128", "1²8", "٣"])
def test_what_is_no_size_is_told_how_to_be_written(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no size; write 128, or 96x128"):
        load("make_drawn_world").parse_size(text)


def test_names_are_a_list_or_a_file_and_nothing_is_no_name(tmp_path):
    parse = load("make_drawn_world").parse_names
    (tmp_path / "names.txt").write_text("sky\nsea\n")
    assert parse("sky, sea") == parse(str(tmp_path / "names.txt")) == ("sky", "sea")
    assert parse("") == parse(" ") == ()
    with pytest.raises(argparse.ArgumentTypeError, match=r"\['tree', 'shrub'\] are synonyms"):
        parse("sky, tree|shrub")
    with pytest.raises(argparse.ArgumentTypeError, match="no vocabulary file 'none.txt'"):
        parse("none.txt")


def test_the_defaults_of_the_drawn_world_follow_each_other():
    args = load("make_drawn_world").build_parser().parse_args([])
    assert (args.train, args.val, args.clips, args.val_clips, args.shard) == (
        2000,
        300,
        40,
        10,
        250,
    )
    assert args.size == (128, 128) and args.seed == 0
    # None: as --val, as --train, and all classes.
    assert (args.val_unseen, args.pairs, args.classes, args.unseen) == (None,) * 4


@pytest.mark.parametrize(
    "text, values",
    [("0.9,0.5,0.9", [0.5, 0.9]), ("1", [1.0]), ("0, 1", [0.0, 1.0]), ("1e-3", [0.001])],
)
def test_thresholds_are_sorted_and_each_is_taken_once(text, values):
    assert load("sweep_background").parse_thresholds(text) == values


@pytest.mark.parametrize("text", ["", "a", "0.5,", "-0.1", "1.0001", "nan", "0.5,nan", "inf"])
def test_what_is_no_threshold_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected numbers from 0 to 1: 0.5,0.9"):
        load("sweep_background").parse_thresholds(text)


def test_the_default_thresholds_go_through_the_parser_too():
    args = load("sweep_background").build_parser().parse_args(["--config-file", "a"])
    assert args.thresholds == [0.3, 0.5, 0.7, 0.8, 0.9, 0.95] and args.metric == "mIoU_union"


@pytest.mark.parametrize("name, least", [("workers", 0), ("show", 0), ("num", 1), ("limit", 1)])
def test_each_number_of_a_check_has_a_least_value(name, least):
    tool = load("check_dataset")
    given = {"workers": 0, "show": 0, "num": 1, "limit": None, "fix": None}
    tool.check_numbers(Namespace(**given))
    tool.check_numbers(Namespace(**{**given, name: least}))
    with pytest.raises(ValueError, match=rf"^--{name} is {least - 1}, expected {least} or more$"):
        tool.check_numbers(Namespace(**{**given, name: least - 1}))


@pytest.mark.parametrize("ending", ["yaml", "YML"])
def test_a_data_set_is_a_name_unless_its_ending_is_that_of_yaml(monkeypatch, ending):
    from segplugins.data import register_yaml

    monkeypatch.setattr(register_yaml, "register_from_yaml", lambda path: [path, "b"])
    names = load("check_dataset").dataset_names
    assert names("my.jsonl") == ["my.jsonl"] and names(f"a.{ending}") == [f"a.{ending}", "b"]


def test_the_bar_of_a_check_moves_to_what_is_done():
    moves = []
    bar = SimpleNamespace(n=0, total=None)

    def update(step):
        bar.n += step
        moves.append(step)

    bar.update = update
    advance = load("check_dataset").progress(bar)
    for done in (2, 2, 7):
        advance(done, 9)
    assert moves == [2, 0, 5] and bar.total == 9


@pytest.mark.parametrize(
    "words, message",
    [
        (("--resamples", 0), "error: --resamples must be at least 1, got 0"),
        (("--seed", -1), "error: --seed must be at least 0, got -1"),
        (("--resamples", 1), "results.json"),  # one is enough; only the runs are missing
    ],
)
def test_the_bootstrap_is_checked_before_the_runs_are_read(ends, words, message):
    tool = load("compare")
    status, error = ends(tool, tool.parser(), "none_a", "none_b", *words)
    assert status == 2 and message in error and "\n" not in error


CURATE = ("--data", "a/*.tar", "--out", "out")


@pytest.mark.parametrize(
    "words, weights",
    [((), "openai"), (("--embedder", "ViT-B-32"), ""), (("--weights", "w.pt"), "w.pt")],
)
def test_the_default_clip_has_default_weights_and_other_embedders_none(monkeypatch, words, weights):
    from segplugins.projects.cocu.curation import embed

    monkeypatch.setattr(embed, "find_shards", lambda data, images: [f"{data} {images}"])
    tool = load("curate_concepts")
    args = tool.build_parser().parse_args([*CURATE, *words])
    work, options = tool.make_work(args), tool.make_options(args)
    assert work.weights == weights and work.embeddings == Path("out/embeddings")
    assert work.out == Path("out/archive")
    assert (options.neighbours, options.top, options.clusters, options.min_count) == (8, 32, 3, 5)
    assert (options.index, options.ranking, options.norm) == ("exact", "vision", "per_image_max")
    assert (options.exclude_self, options.add_own, options.vocabulary_size) == (False, False, 2000)


@pytest.mark.parametrize(
    "words, message",
    [
        (("--workers", 0), "--workers 0, --batch 64: both start at 1"),
        (("--batch", 0), "--workers 1, --batch 0: both start at 1"),
        (("--page", -1), "--page is -1, expected a number of images, or 0 for no page"),
    ],
)
def test_numbers_of_a_curation_are_checked_before_data_are_looked_for(ends, words, message):
    tool = load("curate_concepts")
    status, error = ends(tool, tool.build_parser(), *CURATE, *words)
    assert status == 2 and error == f"error: {message}"


ANNOTATE = ("--recipe", "none.yaml", "--output", "out")


def test_a_negative_number_of_doubtful_images_is_refused_before_the_work(ends):
    tool = load("annotate")
    status, error = ends(tool, tool.build_parser(), *ANNOTATE, "--input", "a", "--review", -1)
    assert status == 2 and error == "error: --review is -1, expected 0 or more images"


@pytest.mark.parametrize(
    "name, images, message",
    [
        ("lines.jsonl", False, "--images names the folder of the images of '.*lines.jsonl'"),
        ("gone", True, "--images goes with region lines, and there are none '.*gone'"),
    ],
)
def test_lines_need_a_folder_of_images_and_nothing_else_takes_one(tmp_path, name, images, message):
    tool = load("annotate")
    (tmp_path / "lines.jsonl").write_text("")
    words = ["--images", str(tmp_path)] if images else []
    words += [*ANNOTATE, "--input", str(tmp_path / name)]
    with pytest.raises(ValueError, match=message):
        tool._inputs(tool.build_parser().parse_args(words))


@pytest.mark.parametrize(
    "given, gpus, devices",
    [
        (None, 0, ["cpu"]),
        (None, 2, ["cuda:0", "cuda:1"]),
        (["cpu"], 2, ["cpu"]),
        (["cuda:1", "cuda:0"], 2, ["cuda:1", "cuda:0"]),
    ],
)
def test_processes_take_the_devices_given_else_all_gpus(monkeypatch, given, gpus, devices):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert load("annotate")._devices(Namespace(device=given)) == devices


def test_the_end_of_an_annotation_counts_names_and_gives_the_status(monkeypatch, capsys):
    from segplugins.annotation import report

    written = []

    def write_report(folder, root, *, review):
        written.append((folder, root, review))
        return {"report": "r.html", "review": "r.jsonl"}

    monkeypatch.setattr(report, "write_report", write_report)
    annotator = SimpleNamespace(
        job=SimpleNamespace(folder="out"), inputs=SimpleNamespace(root="pictures")
    )
    finish = load("annotate")._finish
    failures = [SimpleNamespace(file_name=f"{i}.jpg", error="cut") for i in range(12)]
    outcome = SimpleNamespace(unfinished=0, images=40, failures=failures)
    assert finish(Namespace(review=3), annotator, outcome) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "28 images annotated in out" and written == [("out", "pictures", 3)]
    assert [line for line in told if line.startswith("left out: ")] == [
        f"left out: {i}.jpg: cut" for i in range(10)
    ]
    assert told[-1] == "12 images were left out; out/regions names all of them"
    whole = SimpleNamespace(unfinished=0, images=40, failures=[])
    assert finish(Namespace(review=3), annotator, whole) == 0
    waiting = SimpleNamespace(unfinished=2, images=0, failures=failures)
    assert finish(Namespace(review=3), annotator, waiting) == 0 and len(written) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (("--threshold", "1.5"), "--threshold: got 1.5, expected"),
        (("--threshold", "nan"), "--threshold: got nan, expected"),
        (("--batch-size", "0"), "--batch-size: got 0, expected a whole number from 1 on"),
    ],
)
def test_numbers_of_the_demo_are_checked_before_a_model_is_built(
    ends, monkeypatch, tmp_path, words, message
):
    monkeypatch.setattr(
        "segplugins.prediction.loading.build_model", lambda cfg: pytest.fail("it was built")
    )
    (tmp_path / "a.png").write_bytes(b"")
    tool = load("demo")
    status, error = ends(
        tool, tool.parser(), "--config-file", ROOT / "configs/sed/tiny.yaml", "--input", tmp_path,
        "--vocabulary", "sky, sea", "--output", tmp_path / "out", "--random-weights", *words,
    )  # fmt: skip
    assert status == 2 and f"error: argument {message}" in error
    assert "\n" not in error and not (tmp_path / "out").exists()


def test_skipped_files_are_told_on_the_error_stream_and_in_the_status(capsys):
    report = load("demo")._report_skipped
    assert report(Outcome(written=2), ["a", "b"]) == 0 and capsys.readouterr() == ("", "")
    assert report(Outcome(skipped=[(Path("b.jpg"), "cut")]), ["a", "b", "c"]) == 1
    assert capsys.readouterr() == ("", "1 of 3 files skipped:\n  b.jpg: cut\n")


def test_the_quickstart_gives_each_step_what_the_step_before_leaves():
    tool = load("quickstart")
    drawn, clip, sed, answers = tool.steps(Path("world"))
    ((sheet, draw),) = drawn.commands.items()
    assert sheet == Path("world/contact_sheet.png") and draw[2] == "world"
    ((weights, _),) = clip.commands.items()
    ((model, train),) = sed.commands.items()
    assert train[train.index("MODEL.CLIP.WEIGHTS") + 1] == str(weights)
    commands = list(answers.commands.values())
    assert [command[0] for command in commands] == ["tools/eval.py", *["tools/demo.py"] * 2]
    for command in commands:
        assert command[command.index("MODEL.WEIGHTS") + 1] == str(model)
    words = [command[command.index("--vocabulary") + 1] for command in commands[1:]]
    assert words == ["drawn_seen", "drawn"]  # the unseen split is asked for the unseen words too
    for step in (clip, sed):
        ((_, command),) = step.commands.items()
        assert command[command.index("--num-gpus") + 1] == "0"
        assert command[command.index("--num-processes") + 1] == "2"


def test_a_history_has_the_iterations_at_which_each_value_was_logged(tmp_path):
    lines = [{"iteration": 19, "total_loss": 2.0}, {"iteration": 29, "mIoU": 50.0}]
    lines += [{"iteration": 39, "total_loss": 1.5, "mIoU": 60.0}]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    keys = {"loss": "total_loss", "quality, %": "mIoU", "none": "PQ"}
    assert load("quickstart").read_history(tmp_path, keys) == {
        "loss": ((19, 39), (2.0, 1.5)),
        "quality, %": ((29, 39), (50.0, 60.0)),
        "none": (),
    }


@pytest.mark.parametrize(
    "seconds, ending",
    [({"a": 61.4, "b": 0.0}, "64 s: a 61 s"), ({"a": 0.0}, "64 s, everything stood already")],
)
def test_the_closing_table_rounds_percents_and_marks_what_is_not_measured(
    tmp_path, monkeypatch, seconds, ending
):
    tool = load("quickstart")
    monkeypatch.setattr(tool, "EVAL", tmp_path)
    first, second = tool.SETS.values()
    measured = {"mIoU": 61.26, "mIoU_seen": 70.04, "mIoU_unseen": 20.94, "hIoU": None}
    results = {first: {"sem_seg": {"mIoU": 80.0}}, second: {"sem_seg": measured}}
    (tmp_path / "results.json").write_text(json.dumps({"results": results}))
    lines = tool.report(seconds, 63.6, [Path("sheet.jpg")]).splitlines()
    rows = {line[:15].strip(): line[15:].split() for line in lines if line.startswith("seen ")}
    assert rows["seen classes"] == ["80.0", "-", "-", "-"]
    assert rows["seen and unseen"] == ["61.3", "70.0", "20.9", "-"]
    assert ending in lines and "  sheet.jpg" in lines


def test_an_unknown_part_of_the_benchmark_is_told_with_those_that_are_there(ends):
    tool = load("benchmark")
    parts = tool.benchmark_parts()
    assert parts == sorted(parts) and "harness" not in parts and "sed" in parts
    status, error = ends(tool, tool.build_parser(), "sed", "sedd")
    assert status == 2
    assert error == f"error: unknown part 'sedd'; known: {', '.join(parts)}"


@pytest.mark.parametrize("number", [0, -3])
def test_at_least_one_sample_is_shown(ends, number):
    tool = load("visualize_data")
    status, error = ends(tool, tool.build_parser(), "--dataset", "a", "--num", number)
    assert status == 2 and error == f"error: --num must be at least 1, got {number}"


@pytest.mark.parametrize("tries", [True, False])
def test_a_dry_run_starts_no_processes_and_a_run_does(monkeypatch, tries):
    import segplugins.engine as engine

    tool, calls = load("train_net"), []
    monkeypatch.setattr(engine, "launch", lambda main, args: calls.append(main))
    monkeypatch.setattr(tool, "try_config", lambda args: calls.append("tried"))
    args = tool.build_parser().parse_args(["--dry-run"] if tries else [])
    tool.launched(args)
    assert calls == (["tried"] if tries else [tool.main])
