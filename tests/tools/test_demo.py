"""tools/demo.py as a user calls it; the model is SED's, tiny and random."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segplugins.engine.command import run_command

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
demo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(demo)


@pytest.fixture
def call(tmp_path):
    """Calls the tool on a folder with one picture; returns exit status and folder of results."""
    shots = tmp_path / "shots"
    shots.mkdir()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(shots / "a.png")

    def run(*options, weights=("--random-weights",), out="out"):
        arguments = ["--config-file", str(ROOT / "configs/sed/tiny.yaml")]
        arguments += ["--input", str(shots), "--output", str(tmp_path / out)]
        with pytest.raises(SystemExit) as end:
            run_command(
                demo.main,
                demo.parser(),
                argv=[*arguments, *options, *weights, "MODEL.DEVICE", "cpu"],
            )
        return end.value.code, tmp_path / out

    return run


def test_a_vocabulary_parts_a_picture_into_classes(call):
    status, out = call("--vocabulary", "sky, sea")
    report = json.loads((out / "a.json").read_text())
    assert status == 0 and sum(entry["pixels"] for entry in report["classes"]) == 40 * 60


def test_without_weights_nothing_is_painted(call, capsys):
    status, out = call("--vocabulary", "sky, sea", weights=())
    error = capsys.readouterr().err
    assert status == 2 and error.startswith("error: no weights: name a checkpoint")
    assert not list(out.glob("*"))


def test_prompts_to_a_model_for_classes_end_in_one_line(call, capsys):
    assert call("--prompt", "the sky", "--prompt", "all boats")[0] == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: this model answers prompts") and error.endswith("--vocabulary")
    # No result, so the folder can be used with other words.
    assert call("--vocabulary", "sky, sea")[0] == 0


def test_other_words_in_a_used_folder_are_refused(call, capsys):
    call("--vocabulary", "sky, sea")
    assert call("--vocabulary", "sky, sand")[0] == 2
    error = capsys.readouterr().err
    # Weights at random are others at every start.
    assert "was written with other weights" in error
    assert "and another vocabulary or other prompts" in error


def test_a_bad_file_is_skipped_named_and_seen_in_the_exit_status(call, tmp_path, capsys):
    (tmp_path / "shots" / "bad.jpg").write_bytes(b"no picture")
    status, out = call("--vocabulary", "sky, sea")
    printed = capsys.readouterr()
    assert status == 1 and (out / "a.json").is_file()
    assert "1 pictures segmented" in printed.out
    assert "1 of 2 files skipped" in printed.err and "bad.jpg" in printed.err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--prompt", "sea", "--prompt", " sea"], "error: prompts 'sea' and 'sea' are the same"),
        (["--prompt", ""], "error: prompt 1 of 1 is empty"),
        (["--vocabulary", "none.txt"], "error: no vocabulary file 'none.txt'"),
    ],
)
def test_what_cannot_be_asked_ends_in_one_line_before_a_model_is_built(
    call, monkeypatch, capsys, options, message
):
    monkeypatch.setattr(
        "segplugins.prediction.loading.build_model", lambda cfg: pytest.fail("it was built")
    )
    assert call(*options)[0] == 2
    assert capsys.readouterr().err.startswith(message)


def test_an_output_that_cannot_be_written_is_refused_before_a_model_is_built(
    call, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(
        "segplugins.prediction.loading.build_model", lambda cfg: pytest.fail("it was built")
    )
    (tmp_path / "file").write_text("no folder")
    assert call("--vocabulary", "sky", out="file/out")[0] == 2
    assert capsys.readouterr().err.startswith("error: nothing can be written into")


@pytest.mark.parametrize("options", [[], ["--prompt", "sea", "--vocabulary", "sky"]])
def test_either_a_vocabulary_or_prompts_are_asked(call, capsys, options):
    assert call(*options)[0] == 2
    assert "--prompt" in capsys.readouterr().err


def test_similarity_is_painted_for_every_word_side_by_side(call, capsys):
    status, out = call("--similarity", "sky, sea|ocean")
    assert status == 0 and "1 pictures of similarity painted" in capsys.readouterr().out
    painted = np.asarray(Image.open(out / "a.similarity.png"))
    # The short side of 40 becomes 256; the picture and two words stand in a row.
    assert painted.shape[0] == 256 + 18 and painted.shape[1] > 3 * 384
    assert not list(out.glob("*.json"))


def test_similarity_skips_and_names_bad_files(call, tmp_path, capsys):
    (tmp_path / "shots" / "bad.jpg").write_bytes(b"no picture")
    status, out = call("--similarity", "sky")
    assert status == 1 and (out / "a.similarity.png").is_file()
    assert "1 of 2 files skipped" in capsys.readouterr().err
