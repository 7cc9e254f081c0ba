"""The command: tools/make_drawn_world.py."""

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

from segplugins.drawn_world import write_drawn_world
from segplugins.engine.command import run_command
from tests.support.commands import run_process

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_drawn_world.py"
FEW = ["--train", "3", "--val", "1", "--clips", "1", "--val-clips", "1"]


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("make_drawn_world", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(arguments):
        """Returns the exit status."""
        with pytest.raises(SystemExit) as end:
            run_command(module.main, module.build_parser(), argv=arguments)
        return end.value.code

    return call


def tree(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_the_command_writes_what_one_process_would_byte_for_byte(tmp_path):
    (tmp_path / "classes.txt").write_text("sky\ngrass\ntree\nsheep\n")
    out = tmp_path / "world"
    asked = [
        *("--size", "40x56", "--seed", "9", "--workers", "2"),
        *("--classes", tmp_path / "classes.txt", "--unseen", "sheep"),
        *("--unseen-pairs", "green tree"),
    ]
    done = run_process(TOOL, "--out", out, *FEW, *asked)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr  # of a worker that its pool ends
    assert f"24 images with all their truth are in {out}" in done.stdout  # 3+1+1+3+8+8
    with Image.open(out / "contact_sheet.png") as picture:
        assert min(picture.size) > 500
    (out / "contact_sheet.png").unlink()
    alone = write_drawn_world(
        tmp_path / "alone",
        train=3,
        val=1,
        clips=1,
        val_clips=1,
        size=(40, 56),
        seed=9,
        classes=("sky", "grass", "tree", "sheep"),
        unseen=("sheep",),
        unseen_pairs=("green tree",),
    )
    assert tree(out) == tree(alone)
    assert json.loads((out / "drawn.json").read_text())["options"]["height"] == 40


def test_another_size_in_the_same_folder_is_refused_in_one_line(main, tmp_path, capsys):
    out = ["--out", str(tmp_path / "world"), *FEW, "--workers", "1", "--size"]
    assert main([*out, "40"]) == 0
    capsys.readouterr()
    assert main([*out, "48"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "holds a world of other options (height 40 there, 48 asked" in last
    assert main([*out, "48", "--force"]) == 0


def test_an_unknown_class_is_told(main, tmp_path, capsys):
    asked = ["--out", str(tmp_path / "world"), "--classes", "sky, grass, dragon"]
    assert main(asked) == 2
    assert "unknown class 'dragon'; known are" in capsys.readouterr().err
    assert not (tmp_path / "world").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--size", "big"], "'big' is no size; write 128"),
        (["--classes", "nowhere.txt"], "no vocabulary file 'nowhere.txt'"),
        (["--classes", "sky, grass, car|automobile"], "are synonyms; a class to draw has one name"),
    ],
)
def test_arguments_that_cannot_be_read_are_told(main, tmp_path, capsys, asked, message):
    assert main(["--out", str(tmp_path / "world"), *asked]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
