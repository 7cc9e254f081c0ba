"""tools/demo.py as a user calls it; the model is SED's, tiny and random."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
demo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(demo)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the tool on one picture; returns the folder of results."""

    def run(*options, config="sed"):
        Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "a.png")
        arguments = ["demo.py", "--config-file", str(ROOT / "configs" / config / "tiny.yaml")]
        arguments += ["--input", str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", [*arguments, *options, "MODEL.DEVICE", "cpu"])
        demo.main()
        return tmp_path / "out"

    return run


def test_a_vocabulary_parts_a_picture_into_classes(call):
    report = json.loads((call("--vocabulary", "sky, sea") / "a.json").read_text())
    assert sum(entry["pixels"] for entry in report["classes"]) == 40 * 60


def test_prompts_to_a_model_for_classes_end_in_one_line(call, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: this model answers prompts.*--vocabulary$"):
        call("--prompt", "the sky", "--prompt", "all boats")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--prompt", "sea", "--prompt", " sea"], "error: prompts 'sea' and 'sea' are the same"),
        (["--prompt", ""], "error: prompt 1 of 1 is empty"),
        (["--vocabulary", "none.txt"], "error: no vocabulary file 'none.txt'"),
    ],
)
def test_what_cannot_be_asked_ends_in_one_line_before_a_model_is_built(
    call, monkeypatch, options, message
):
    monkeypatch.setattr(demo.Predictor, "from_config", lambda *args: pytest.fail("it was built"))
    with pytest.raises(SystemExit, match=message):
        call(*options)


@pytest.mark.parametrize("options", [[], ["--prompt", "sea", "--vocabulary", "sky"]])
def test_either_a_vocabulary_or_prompts_are_asked(call, capsys, options):
    with pytest.raises(SystemExit):
        call(*options)
    assert "--prompt" in capsys.readouterr().err
