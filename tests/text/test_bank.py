"""TextBank: encoded once, kept exactly, never another's, never half a file."""

import logging
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import segplugins.text.bank as module
from segplugins.clip import load_clip
from segplugins.text import TextEncoder
from segplugins.text.bank import TextBank

GROUPS = [("cat",), ("sofa", "couch"), ("tree",), ("bush", "shrub", "hedge")]
TEMPLATES = ("a photo of a {}.", "{}", "the {} in {{braces}}")


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TextEncoder(load_clip("convnext_drawn"))


def expected(encoder, *, keep_templates, each_prompt=True):
    """The averages spelled out, class by class and template by template."""
    rows = []
    for group in GROUPS:
        per_template = []
        for template in TEMPLATES:
            texts = [encoder.pooled([template.replace("{}", text)])[0] for text in group]
            if each_prompt:
                texts = [F.normalize(text, dim=0) for text in texts]
            mean = torch.stack(texts).mean(dim=0)
            per_template.append(F.normalize(mean, dim=0) if each_prompt else mean)
        per_template = torch.stack(per_template)
        row = per_template if keep_templates else per_template.mean(dim=0)
        rows.append(F.normalize(row, dim=-1))
    return torch.stack(rows).detach()


def count_calls(encoder, monkeypatch):
    calls = []
    pooled = encoder.pooled
    monkeypatch.setattr(encoder, "pooled", lambda texts: calls.append(len(texts)) or pooled(texts))
    return calls


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("each_prompt", [True, False])
@pytest.mark.parametrize("keep_templates", [True, False])
def test_averages_are_taken_in_the_order_that_is_told(
    encoder, tmp_path, folder, keep_templates, each_prompt
):
    bank = TextBank(encoder, str(tmp_path) if folder else "")
    options = {"keep_templates": keep_templates, "each_prompt": each_prompt}
    found = bank.get(GROUPS, TEMPLATES, **options)
    assert found.shape == ((4, 3, 64) if keep_templates else (4, 64)) and not found.requires_grad
    torch.testing.assert_close(found, expected(encoder, **options), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prompts", [1, 7, 4096])
def test_blocks_change_nothing_and_permuted_groups_are_permuted_exactly(
    encoder, monkeypatch, prompts
):
    whole = TextBank(encoder).get(GROUPS, TEMPLATES, keep_templates=True)
    monkeypatch.setattr(module, "_PROMPTS", prompts)
    in_blocks = TextBank(encoder).get(GROUPS, TEMPLATES, keep_templates=True)
    torch.testing.assert_close(in_blocks, whole, atol=1e-6, rtol=1e-5)
    order = [2, 0, 3, 1]
    permuted = TextBank(encoder).get([GROUPS[i] for i in order], TEMPLATES, keep_templates=True)
    assert torch.equal(permuted, in_blocks[order])


def test_memory_answers_the_second_time(encoder, monkeypatch):
    calls = count_calls(encoder, monkeypatch)
    bank = TextBank(encoder)
    first = bank.get(GROUPS, TEMPLATES, keep_templates=False)
    assert bank.get(GROUPS, TEMPLATES, keep_templates=False) is first and len(calls) == 1
    bank.get(GROUPS, TEMPLATES[:1], keep_templates=False)
    bank.get(GROUPS, TEMPLATES, keep_templates=True)
    bank.get(GROUPS, TEMPLATES, keep_templates=False, each_prompt=False)
    assert len(calls) == 4
    bank.clear()
    bank.get(GROUPS, TEMPLATES, keep_templates=False)
    assert len(calls) == 5


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("keep_templates", [True, False])
def test_a_list_that_shares_149_of_150_names_encodes_one(
    encoder, monkeypatch, tmp_path, keep_templates, folder
):
    names = [(f"name {number}",) for number in range(150)]
    place = str(tmp_path) if folder else ""
    bank = TextBank(encoder, place)
    first = bank.get(names, ("{}",), keep_templates=keep_templates)
    calls = count_calls(encoder, monkeypatch)
    if folder:
        bank = TextBank(encoder, place)  # another process; what the first encoded is on disk
    other = [*names[75:], ("a new name",), *names[:74]]
    found = bank.get(other, ("{}",), keep_templates=keep_templates)
    assert calls == [1]
    assert torch.equal(found[:75], first[75:]) and torch.equal(found[76:], first[:74])
    alone = TextBank(encoder).get([("a new name",)], ("{}",), keep_templates=keep_templates)
    torch.testing.assert_close(found[75:76], alone)
    # Other templates and another weight are other embeddings.
    bank.get(other, ("a {}",), keep_templates=keep_templates)
    assert sum(calls) == 1 + 1 + 150


def test_a_name_that_stands_twice_in_a_list_is_right_in_both_places(encoder, tmp_path):
    for place in ("", str(tmp_path)):
        bank = TextBank(encoder, place)
        bank.get(GROUPS, TEMPLATES, keep_templates=True)
        found = bank.get([GROUPS[1], ("new",), GROUPS[1], ("new",)], TEMPLATES, keep_templates=True)
        assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
        assert not torch.equal(found[0], found[1])


def test_groups_in_memory_stay_within_their_bound(encoder, monkeypatch):
    row = 4 * 64  # bytes of an embedding
    monkeypatch.setattr(module, "_GROUP_BYTES", 3 * row)
    monkeypatch.setattr(module, "_KEPT", 1)
    bank = TextBank(encoder)
    calls = count_calls(encoder, monkeypatch)
    for name in ("a", "b", "c", "a", "d"):  # d drives out b, which was not used for longest
        bank.get([(name,)], ("{}",), keep_templates=False)
    assert bank._groups.bytes == 3 * row and len(bank._groups) == 3
    bank.get([("a",), ("c",), ("d",)], ("{}",), keep_templates=False)
    assert len(calls) == 4
    bank.get([("b",)], ("{}",), keep_templates=False)
    assert len(calls) == 5


def test_banks_in_memory_stay_within_their_bound(encoder, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_BYTES", 4 * 4 * 64)
    bank = TextBank(encoder)
    bank.get(GROUPS, TEMPLATES, keep_templates=False)  # 4 rows of 64 floats: just within
    bank.get(GROUPS[:1], TEMPLATES, keep_templates=False)
    assert [len(kept) for kept in bank._kept.values()] == [1]
    bank.get(GROUPS, TEMPLATES, keep_templates=True)  # too large alone, and kept all the same
    assert [tuple(kept.shape) for kept in bank._kept.values()] == [(4, 3, 64)]


def test_memory_keeps_the_last_banks_only(encoder, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    monkeypatch.setattr(module, "_GROUP_BYTES", 0)
    calls = count_calls(encoder, monkeypatch)
    bank = TextBank(encoder)
    for name in ("a", "b", "a", "c", "a", "b"):
        bank.get([(name,)], ("{}",), keep_templates=False)
    assert len(calls) == 4  # a, b, c, and b again, which c drove out


def test_a_file_answers_another_process(encoder, monkeypatch, tmp_path):
    first = TextBank(encoder, str(tmp_path / "new")).get(GROUPS, TEMPLATES, keep_templates=True)
    (file,) = (tmp_path / "new").iterdir()
    assert file.suffix == ".safetensors"
    calls = count_calls(encoder, monkeypatch)
    again = TextBank(encoder, str(tmp_path / "new")).get(GROUPS, TEMPLATES, keep_templates=True)
    assert torch.equal(again, first) and calls == []
    assert torch.equal(load_file(file)["embeddings"], first)  # any reader of the format can


def test_a_changed_weight_is_another_bank(encoder, tmp_path):
    bank = TextBank(encoder, str(tmp_path))
    before = bank.get(GROUPS, TEMPLATES, keep_templates=False).clone()
    with torch.no_grad():
        encoder.text.text_projection.mul_(torch.rand(64))
    after = bank.get(GROUPS, TEMPLATES, keep_templates=False)
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, expected(encoder, keep_templates=False), atol=1e-5, rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2


def truncate(file):
    os.truncate(file, file.stat().st_size - 100)


def empty(file):
    os.truncate(file, 0)


def never_filled(file):
    with open(file, "r+b") as content:
        content.seek(-64 * 4, os.SEEK_END)
        content.write(bytes(64 * 4))


def another_shape(file):
    save_file({"embeddings": torch.zeros(2, 2)}, str(file), {"key": key_of(file)})


def another_key(file):
    save_file(load_file(file), str(file), {"key": "of other texts"})


def key_of(file):
    return file.stem.removeprefix("text-")


@pytest.mark.parametrize("damage", [truncate, empty, never_filled, another_shape, another_key])
def test_a_damaged_file_is_made_again_with_a_warning(encoder, tmp_path, caplog, damage):
    first = TextBank(encoder, str(tmp_path)).get(GROUPS, TEMPLATES, keep_templates=True).clone()
    (file,) = tmp_path.iterdir()
    damage(file)
    with caplog.at_level(logging.WARNING):
        again = TextBank(encoder, str(tmp_path)).get(GROUPS, TEMPLATES, keep_templates=True)
    assert "cannot be used" in caplog.text and "encoding them again" in caplog.text
    assert torch.equal(again, first)
    with safe_open(file, framework="pt") as content:
        assert content.metadata()["key"] == key_of(file)


def test_an_interrupted_write_leaves_nothing_behind(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PROMPTS", 3)
    calls = []
    pooled = encoder.pooled

    def interrupted(texts):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return pooled(texts)

    monkeypatch.setattr(encoder, "pooled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TextBank(encoder, str(tmp_path)).get(GROUPS, TEMPLATES, keep_templates=True)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_do_not_disturb_each_other(encoder, tmp_path):
    """The second begins and ends while the first is half way; both read the whole bank."""
    bank = TextBank(encoder, str(tmp_path))
    pooled = encoder.pooled
    inner = []

    def interleaved(texts):
        if not inner:
            inner.append(None)
            inner.append(
                TextBank(encoder, str(tmp_path)).get(GROUPS, TEMPLATES, keep_templates=True)
            )
        return pooled(texts)

    encoder.pooled = interleaved
    outer = bank.get(GROUPS, TEMPLATES, keep_templates=True)
    assert torch.equal(outer, inner[1]) and len(list(tmp_path.iterdir())) == 1


def test_what_is_too_large_for_memory_is_mapped(encoder, monkeypatch):
    in_memory = TextBank(encoder).get(GROUPS, TEMPLATES, keep_templates=True)
    monkeypatch.setattr(module, "_MAPPED_BYTES", 0)
    assert torch.equal(TextBank(encoder).get(GROUPS, TEMPLATES, keep_templates=True), in_memory)


def test_what_is_kept_is_exact_whatever_the_first_call_runs_in(encoder):
    exact = TextBank(encoder).get(GROUPS, TEMPLATES, keep_templates=False)
    bank = TextBank(encoder)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        bank.get(GROUPS, TEMPLATES, keep_templates=False)
    kept = bank.get(GROUPS, TEMPLATES, keep_templates=False)
    assert torch.equal(kept, exact)
    weight = torch.ones(64, requires_grad=True)
    (kept * weight).sum().backward()  # an inference tensor could not be part of a graph


def test_long_work_tells_how_far_it_is(encoder, monkeypatch, caplog):
    monkeypatch.setattr(module, "_PROMPTS", 3)
    monkeypatch.setattr(module, "_LOG_SECONDS", -1.0)
    with caplog.at_level(logging.INFO):
        TextBank(encoder).get(GROUPS, TEMPLATES, keep_templates=False)
    assert "2 of 4 names" in caplog.text and "s left" in caplog.text


@torch.no_grad()
def test_a_group_weighs_as_much_as_another_whatever_its_number_of_texts(encoder):
    groups = [("cat", "cat", "dog"), ("sky",)]
    [mixed, alone] = module.embed_groups(
        encoder, groups, ["{}"], keep_templates=False, each_prompt=True
    )
    cat, dog, sky = F.normalize(encoder.pooled(["cat", "dog", "sky"]), dim=1)
    torch.testing.assert_close(mixed, F.normalize(2 * cat + dog, dim=0))
    torch.testing.assert_close(alone, sky)


@torch.no_grad()
def test_templates_are_averaged_before_the_length_is_brought_to_1(encoder):
    groups, templates = [("cat", "kitten")], ["{}", "a photo of a {}"]
    [plain] = module.embed_groups(
        encoder, groups, templates, keep_templates=False, each_prompt=False
    )
    prompts = ["cat", "kitten", "a photo of a cat", "a photo of a kitten"]
    torch.testing.assert_close(plain, F.normalize(encoder.pooled(prompts).mean(dim=0), dim=0))
    [kept] = module.embed_groups(encoder, groups, templates, keep_templates=True, each_prompt=False)
    for row, pair in zip(kept, (prompts[:2], prompts[2:])):
        torch.testing.assert_close(row, F.normalize(encoder.pooled(pair).mean(dim=0), dim=0))
