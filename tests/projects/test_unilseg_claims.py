"""What UniLSeg is measured against: baselines and spoiled masks."""

import random
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from segplugins.data import load_dataset
from segplugins.data.register_yaml import register_from_yaml
from segplugins.drawn_world import write_drawn_world
from segplugins.engine import Trainer, setup_cfg
from segplugins.projects.unilseg import add_config
from segplugins.projects.unilseg.noisy_masks import noisy_lines, spoiled, write_noisy_set
from segplugins.structures.regions import decode_mask

TINY = Path(__file__).resolve().parents[2] / "configs" / "unilseg" / "tiny.yaml"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_drawn_world(root / "drawn", train=6, val=3, clips=1, val_clips=1, size=64, seed=0)
    return root


@pytest.fixture
def build(drawn, monkeypatch, tmp_path):
    """Builds tiny.yaml under one of the architectures; gives model and records of one data set."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(drawn))

    def built(architecture, dataset, *opts):
        opts = [
            *("OUTPUT_DIR", str(tmp_path), "MODEL.META_ARCHITECTURE", architecture),
            *("DATASETS.TEST", "['drawn_val_referring', 'drawn_val_salient', 'drawn_val_sem_seg']"),
            *opts,
        ]
        cfg = setup_cfg(Namespace(config_file=str(TINY), opts=opts), [add_config])
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        return model, [r for batch in Trainer.build_test_loader(cfg, dataset) for r in batch]

    return built


# --- baselines


def test_constant_foreground_is_everywhere_in_the_form_of_each_task(build):
    model, records = build("ConstantForeground", "drawn_val_referring")
    masks = model(records[:1])[0]["phrase_masks"]
    assert masks.shape == (len(records[0]["texts"]), 64, 64)
    assert masks.dtype == torch.bool and masks.all()
    model, records = build("ConstantForeground", "drawn_val_salient")
    grey = model(records[:1])[0]["phrase_masks"]
    assert grey.dtype == torch.float32 and (grey == 1).all()
    model, records = build("ConstantForeground", "drawn_val_sem_seg")
    scores = model(records[:1])[0]["sem_seg"]
    assert (scores == 1).all() and scores.shape[1:] == (64, 64)
    model, records = build("ConstantForeground", "drawn_val_sem_seg", "TEST.LABEL_MAPS", "True")
    assert not model(records[:1])[0]["sem_seg"].any()


def test_shuffled_phrases_are_those_of_other_images_and_the_same_at_every_call(build):
    model, records = build("ShuffledPhrases", "drawn_val_referring")
    plain, _ = build("UniLSeg", "drawn_val_referring")
    for record in records:
        asked = model.ask(record)
        assert asked == model.ask(record)
        assert not set(asked) & set(plain.ask(record))
        assert all(phrase in model.pool for (phrase,) in asked)
    assert "the most salient object" in model.pool


def test_shuffled_classes_keep_their_phrases_among_themselves(build):
    model, records = build("ShuffledPhrases", "drawn_val_sem_seg")
    plain, _ = build("UniLSeg", "drawn_val_sem_seg")
    own = plain.ask(records[0])
    assert sorted(model.ask(records[0])) == sorted(own) and model.ask(records[0]) != own
    answer, of_plain = model(records[:1])[0]["sem_seg"], plain(records[:1])[0]["sem_seg"]
    order = [own.index(phrases) for phrases in model.ask(records[0])]
    assert torch.equal(answer, of_plain[order])


def test_nothing_can_be_shuffled_where_all_ask_the_same(build):
    opts = ("DATASETS.TEST", "['drawn_val_salient']")
    model, records = build("ShuffledPhrases", "drawn_val_salient", *opts)
    with pytest.raises(ValueError, match="nothing can be shuffled; add a data set"):
        model(records[:1])


# --- spoiled masks


def test_a_spoiled_mask_is_its_box_or_half_of_it_or_in_the_wrong_place():
    mask = np.zeros((20, 20), bool)
    mask[5:9, 6:12] = True
    mask[5, 6] = False
    seen = set()
    for seed in range(30):
        changed = spoiled(mask, random.Random(seed))
        box = np.zeros_like(mask)
        box[5:9, 6:12] = True
        if (changed == box).all():
            seen.add("box")
        elif not (changed & ~mask).any():
            assert changed.sum() == mask[:, :9].sum()  # columns 6 to 8 of 6 to 11
            seen.add("half")
        else:
            assert changed.sum() == mask.sum() and (changed & mask).sum() < mask.sum()
            seen.add("shift")
    assert seen == {"box", "half", "shift"}


def test_an_empty_mask_cannot_be_spoiled():
    assert not spoiled(np.zeros((4, 4), bool), random.Random(0)).any()


def test_the_noisy_set_is_read_as_machine_made_and_as_often_wrong_as_asked(
    build, drawn, monkeypatch, tmp_path
):
    build("UniLSeg", "drawn_val_referring")  # for the folder of the data sets
    monkeypatch.chdir(drawn)
    monkeypatch.setenv("DETECTRON2_DATASETS", ".")  # file names are then relative
    name = "drawn_train_referring"
    write_noisy_set(name, noisy_lines(name, 0.5, seed=0), tmp_path / "noisy")
    assert register_from_yaml(tmp_path / "noisy" / "noisy.yaml") == [f"{name}_noisy"]
    assert all(Path(record["file_name"]).is_file() for record in load_dataset(f"{name}_noisy"))
    pairs = [
        (true, noisy)
        for one, other in zip(load_dataset(name), load_dataset(f"{name}_noisy"))
        for true, noisy in zip(one["regions"], other["regions"], strict=True)
    ]
    assert all(noisy.score < 1 and noisy.text == true.text for true, noisy in pairs)
    assert all(noisy.extra["sentences"] == true.extra["sentences"] for true, noisy in pairs)
    wrong = [(decode_mask(t.mask, 64, 64) != decode_mask(n.mask, 64, 64)).any() for t, n in pairs]
    # A coin per region: four standard deviations of its mean.
    assert (
        abs(np.mean(wrong) - 0.5) < 4 * 0.5 / len(wrong) ** 0.5 + 0.05
    )  # a box may be its own box


def test_a_share_is_a_share():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 2"):
        next(noisy_lines("drawn_train_referring", 2, seed=0))
