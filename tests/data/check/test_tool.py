import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

from segplugins.engine.command import run_command
from tests.support.commands import run_process

ROOT = Path(__file__).resolve().parents[3]
_spec = importlib.util.spec_from_file_location("check_tool", ROOT / "tools" / "check_dataset.py")
tool = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)


@pytest.fixture
def call(capsys):
    """Calls the tool in this process; returns its exit status and what it printed."""

    def run(*args):
        argv = [*map(str, args), "--workers", "0"]
        with pytest.raises(SystemExit) as end:
            run_command(tool.main, tool.build_parser(), argv=argv)
        return end.value.code, capsys.readouterr()

    return run


def test_the_exit_status_tells_clean_from_faulty(instances, content, call):
    name = instances(content)
    status, printed = call("--dataset", name)
    assert status == 0 and "no faults" in printed.out


def test_faults_are_printed_and_written_as_json(root, instances, content, call):
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    status, printed = call("--dataset", instances(content), "--json", root / "report.json")
    assert (
        status == 1
        and "bbox is [0, 0, 0, 0] (x, y, w, h), the mask has [1, 1, 4, 4]" in printed.out
    )
    [fault] = json.loads((root / "report.json").read_text())["faults"]
    assert fault["kind"] == "box" and fault["field"] == "annotation 11"


def test_a_cleaned_copy_and_pictures_are_written_on_request(root, instances, content, call):
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    pictures, clean = root / "seen", root / "clean.json"
    args = ("--dataset", instances(content), "--fix", clean, "--pictures", pictures, "--num", 2)
    status, printed = call(*args)
    assert status == 1 and f"cleaned copy {clean}" in printed.out
    assert json.loads(clean.read_text())["annotations"][0]["bbox"] == [1, 1, 4, 4]
    with Image.open(pictures / "small_0.png") as sheet:
        assert sheet.width > 512  # two samples beside each other, each at least 256 pixels high


@pytest.mark.parametrize(
    "args, message",
    [
        (("--dataset", "nobody"), "no data set 'nobody' is registered"),
        (("--dataset", "none.yaml"), "no data set file none.yaml"),
        (("--dataset", "small", "--fix", "small.json"), "is the original"),
        (("--dataset", "small", "--fix", "a.json", "--limit", "1"), "--fix needs all records"),
        (("--dataset", "small", "--num", "0"), "--num is 0, expected 1 or more"),
    ],
)
def test_a_call_that_cannot_be_done_ends_with_status_2_and_one_line(
    root, instances, content, call, monkeypatch, args, message
):
    instances(content)
    monkeypatch.chdir(root)
    status, printed = call(*args)
    assert status == 2 and message in printed.err


def test_a_yaml_file_stands_for_the_sets_that_it_describes(root, images, content, call):
    (root / "small.json").write_text(json.dumps(content))
    (root / "sets.yaml").write_text(
        "kind: coco\nsets:\n  from_yaml: {images: images, annotations: small.json}\n"
    )
    status, printed = call("--dataset", root / "sets.yaml")
    assert status == 0 and "data set 'from_yaml'" in printed.out


def test_it_runs_as_a_command_with_workers_and_progress(root, images, content):
    content["annotations"][0]["segmentation"] = [[0, 0, 1, float("nan"), 5, 5]]
    (root / "small.json").write_text(json.dumps(content))
    (root / "sets.yaml").write_text(
        "kind: coco\nsets:\n  as_command: {images: images, annotations: small.json}\n"
    )
    done = run_process("tools/check_dataset.py", "--workers", "2", "--dataset", root / "sets.yaml")
    assert done.returncode == 1, done.stderr
    assert "record 1, annotation 11: a polygon leaves the 8x10 image" in done.stdout


@pytest.mark.parametrize("file", ["small.json", "images/1.png", "set.yaml"])
def test_a_report_is_not_written_over_a_file_of_the_set(root, instances, content, call, file):
    name = instances(content)
    (root / "set.yaml").write_text("kind: coco\n")
    before = (root / file).read_bytes()
    status, _ = call("--dataset", name, "--json", root / file)
    assert status == 2 and (root / file).read_bytes() == before


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/full", "folder"])
def test_a_report_never_goes_over_what_is_no_report(root, instances, content, call, place):
    (root / "folder").mkdir(exist_ok=True)
    status, printed = call("--dataset", instances(content), "--json", root / place)
    assert status == 2 and printed.err.startswith(f"error: --json {root / place} is there already")


def test_an_annotation_file_in_place_of_a_description_says_how_to_describe_it(tmp_path, call):
    (tmp_path / "a.json").write_text("{}")
    status, printed = call("--dataset", tmp_path / "a.json")
    assert status == 2
    assert "a.json is no YAML file; describe it in one (datasets/README.md), such as" in printed.err
    assert "{mine: {images: FOLDER, annotations: a.json}}" in printed.err
