import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).resolve().parents[2] / "tools" / "visualize_data.py"

SETS = """
kind: {kind}
vocabulary: [cat, dog]
sets:
  {name}: {keys}
"""


@pytest.fixture
def show(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("visualize_data", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(kind, keys, *options):
        name = f"test_seen_{kind}"
        described = tmp_path / "seen.yaml"
        described.write_text(SETS.format(kind=kind, name=name, keys=keys))
        register = ["DATASETS.REGISTER", f"['{described}']"]
        arguments = ["--dataset", name, "--num", "3", "--output", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["visualize_data", *arguments, *register, *options])
        tool.main()
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


def test_no_data_set_is_told_in_one_line(monkeypatch, show):
    monkeypatch.setattr("sys.argv", ["visualize_data"])
    spec = importlib.util.spec_from_file_location("visualize_data", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with pytest.raises(SystemExit, match="name a data set with --dataset"):
        tool.main()
