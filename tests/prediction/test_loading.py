import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import segplugins
from segplugins.engine import ConfigError
from segplugins.engine.checkpoint import Match
from segplugins.prediction.loading import check_whole, read_config, weights_digest
from segplugins.projects.sed.weights import official_name
from segplugins.zoo import Entry

ROOT = Path(__file__).resolve().parents[2]
SED = ROOT / "configs/sed/tiny.yaml"
UNILSEG = ROOT / "configs/unilseg/tiny.yaml"
CPU = ["MODEL.DEVICE", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of the tiny SED, and the segmenter that it was made of."""
    torch.manual_seed(5)
    model = segplugins.load(SED, random_weights=True, options=CPU)
    path = tmp_path_factory.mktemp("trained") / "sed.pth"
    torch.save({"model": model.model.state_dict()}, path)
    return path, model


def test_one_call_from_a_checkpoint_to_masks(trained):
    path, original = trained
    torch.manual_seed(6)
    model = segplugins.load(SED, weights=path, device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    result = model(picture, "sky, sea, red car")
    expected = original(picture, "sky, sea, red car")
    np.testing.assert_array_equal(result.label_map, expected.label_map)
    assert result.names == ("sky", "sea", "red car") and result.size == (40, 60)
    assert sum(result.areas) == 40 * 60 and (result.scores > 0).all()
    assert model.settings.identity["weights"] == original.settings.identity["weights"]


def test_phrases_get_a_mask_each():
    model = segplugins.load(UNILSEG, random_weights=True, options=CPU)
    result = model(np.zeros((40, 60, 3), np.uint8), prompts=["the sky", "a red car"])
    assert result.names == ("the sky", "a red car") and result.masks.shape == (2, 40, 60)


def test_without_weights_nothing_is_built(monkeypatch):
    monkeypatch.setattr(
        "segplugins.prediction.loading.build_model", lambda cfg: pytest.fail("built")
    )
    with pytest.raises(ValueError, match="no weights: name a checkpoint .*--random-weights"):
        segplugins.load(SED)
    with pytest.raises(ValueError, match="random weights and 'a.pth' exclude each other"):
        segplugins.load(SED, weights="a.pth", random_weights=True)


def test_weights_of_another_config_are_refused(trained, tmp_path):
    wider = ["MODEL.SED.DECODER.SKIP_WIDTHS", "[16, 8, 8]", *CPU]
    with pytest.raises(ValueError, match=r"fit \d+ of the model's \d+ entries: \d+ of another sha"):
        segplugins.load(SED, weights=trained[0], options=wider)
    state = torch.load(trained[0], weights_only=True)["model"]
    state.pop(next(iter(state)))
    torch.save({"model": state}, tmp_path / "less.pth")
    with pytest.raises(ValueError, match=r"entries: 1 missing \(.*name the config that they were"):
        segplugins.load(SED, weights=tmp_path / "less.pth", options=CPU)


def test_what_a_model_computes_itself_may_be_missing():
    check_whole(Match(9, ["a.relative_position_index", "b.num_batches_tracked"], ["c"], []), "w")
    with pytest.raises(ValueError, match=r"'w' fit 9 of the model's 11 entries: 1 missing \(a\)"):
        check_whole(Match(9, ["a"], [], ["b"]), "w")


def test_what_a_model_begins_with_is_not_looked_for(trained, tmp_path):
    config = tmp_path / "begins.yaml"
    config.write_text(f"_BASE_: {SED}\nMODEL: {{CLIP: {{WEIGHTS: nowhere/clip.pth}}}}\n")
    segplugins.load(config, weights=trained[0], device="cpu")


def test_a_digest_changes_with_any_weight(trained):
    model = torch.nn.Linear(3, 2)
    before = weights_digest(model)
    assert weights_digest(model) == before and len(before) == 16
    with torch.no_grad():
        model.bias[1] += 1e-6
    assert weights_digest(model) != before
    assert weights_digest(model.to(torch.bfloat16)) != before


def test_a_config_is_a_file_or_a_config(trained):
    cfg = read_config(SED, CPU)
    model = segplugins.load(cfg, weights=trained[0], options=["INPUT.MIN_SIZE_TEST", "64"])
    assert cfg.INPUT.MIN_SIZE_TEST == 128 and cfg.MODEL.WEIGHTS == ""
    picture = np.zeros((40, 60, 3), np.uint8)
    assert model(picture, "sky, sea").size == (40, 60)
    with pytest.raises(ConfigError, match="unknown config key 'INPUT.MIN_SIZE'"):
        segplugins.load(cfg, options=["INPUT.MIN_SIZE", "64"])
    with pytest.raises(ConfigError, match="no config file 'nowhere.yaml'"):
        segplugins.load("nowhere.yaml")


def test_the_background_threshold_of_the_config_is_honoured(trained):
    vocabulary = segplugins.structures.Vocabulary(
        "test_load_none", ("sky", "nothing", "sea"), none_class="nothing"
    )
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    scores = segplugins.load(SED, weights=trained[0], options=CPU)(picture, vocabulary)
    limit = float(np.median(scores.scores))
    options = ["TEST.BACKGROUND_THRESHOLD", str(limit), *CPU]
    result = segplugins.load(SED, weights=trained[0], options=options)(picture, vocabulary)
    model = segplugins.load(SED, weights=trained[0], options=options)
    # The rule of evaluation: "nothing" is not in the running, and is where no other class reaches
    # the limit.
    model.model.inference = type(model.model.inference)(top_k=8, class_chunk=256)
    record = {"height": 40, "width": 60, "vocabulary": "test_load_none", "task": "semantic"}
    shown = {}
    model.model.register_forward_pre_hook(lambda module, given: shown.update(given[0][0]))
    model(picture, vocabulary)
    (output,) = model.model([{**shown, **record}])
    others = output["sem_seg"][[0, 2]].max(0)
    expected = torch.where(others.values < limit, 1, torch.tensor([0, 2])[others.indices])
    np.testing.assert_array_equal(result.label_map, expected.numpy())
    assert set(np.unique(expected)) >= {1}


def test_importing_the_package_is_light():
    code = (
        "import sys, segplugins; "
        "assert 'torch' not in sys.modules and 'detectron2' not in sys.modules; "
        "print(callable(segplugins.load), segplugins.Result.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == ["True", "Result"], run.stderr
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        _ = segplugins.laod


def test_an_entry_of_the_zoo_brings_config_weights_and_conversion(trained, tmp_path, monkeypatch):
    official = tmp_path / "cache" / "toy" / "model_final.pth"
    official.parent.mkdir(parents=True)
    state = {official_name(k): v for k, v in trained[1].model.state_dict().items()}
    torch.save({"model": state, "iteration": 3}, official)
    monkeypatch.setenv("SEGPLUGINS_CACHE", str(tmp_path / "cache"))
    keys = {"page": "https://a", "file": "model_final.pth", "licence": "none", "converter": "sed"}
    toy = Entry(name="toy", config="configs/sed/tiny.yaml", **keys)
    for module in ("segplugins.engine.zoo_weights", "segplugins.prediction.loading"):
        monkeypatch.setattr(f"{module}.entry_of", {"toy": toy}.__getitem__)
    model = segplugins.load("toy", device="cpu")
    assert model.settings.identity["weights"] == trained[1].settings.identity["weights"]
    again = segplugins.load(SED, weights="zoo://toy", device="cpu")
    assert again.settings.identity["weights_file"] == "zoo://toy"


def test_a_mistyped_entry_of_the_zoo_is_told_the_nearest():
    with pytest.raises(ValueError, match="has no 'sed_convnext'; the nearest is 'sed_convnext_"):
        segplugins.load("sed_convnext")
