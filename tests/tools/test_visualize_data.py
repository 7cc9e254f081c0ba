import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segplugins.engine.command import run_command

TOOL = Path(__file__).resolve().parents[2] / "tools" / "visualize_data.py"

SETS = """
kind: {kind}
vocabulary: [cat, dog]
sets:
  {name}: {keys}
"""


@pytest.fixture
def call():
    """Calls the tool and returns its exit status."""
    spec = importlib.util.spec_from_file_location("visualize_data", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            run_command(tool.main, tool.build_parser(), argv=list(arguments))
        return end.value.code

    return run


@pytest.fixture
def show(tmp_path, call):

    def run(kind, keys, *options):
        name = f"test_seen_{kind}"
        described = tmp_path / "seen.yaml"
        described.write_text(SETS.format(kind=kind, name=name, keys=keys))
        register = ["DATASETS.REGISTER", f"['{described}']"]
        arguments = ["--dataset", name, "--num", "3", "--output", str(tmp_path / "out")]
        assert call(*arguments, *register, *options) == 0
        return sorted((tmp_path / "out").glob("*.png"))

    return run


def test_a_sheet_shows_image_labels_and_legend(tmp_path, show):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for stem in "ab":
        picture = np.full((60, 80, 3), 255, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"images/{stem}.jpg")
        labels = np.zeros((60, 80), np.uint8)
        labels[:, 40:] = 1
        Image.fromarray(labels).save(tmp_path / f"labels/{stem}.png")
    (sheet,) = show("semantic", "{images: images, labels: labels}", "INPUT.TARGETS", "['sem_seg']")
    drawn = np.asarray(Image.open(sheet))
    # Two samples in a row, each with its image, its overlay and a legend.
    assert drawn.shape[1] > 4 * 256
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3)}
    assert len(colours) > 2  # white paper and at least the two classes


def test_boxes_are_drawn_as_outlines(tmp_path, show):
    Image.fromarray(np.full((60, 80, 3), 255, np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "lines.jsonl").write_text(
        '{"file_name": "a.jpg", "regions": [{"text": "dog", "box": [10, 10, 70, 50]}]}'
    )
    assert len(show("regions", "{images: ., lines: lines.jsonl, task: detection}")) == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "error: name a data set with --dataset, or a config that trains on some"),
        (["--num", "0"], "error: --num must be at least 1, got 0"),
        (["--dataset", "nobody"], "error: no data set 'nobody' is registered"),
    ],
)
def test_a_mistake_ends_in_one_line(call, capsys, arguments, message):
    assert call(*arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(message)
