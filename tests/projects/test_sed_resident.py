"""Text embeddings in a file go to the device where they fit, once, and by chunks elsewhere."""

from types import SimpleNamespace

import pytest
import torch

import segplugins.projects.sed.sed as sed_module
from segplugins.projects.sed import SED
from segplugins.structures import Vocabulary

WORDS = Vocabulary("sed-resident", ("sky", "car", "tree"))
DEVICE = torch.device("meta")  # stands for a GPU: another device than that of the file


class Banks:
    """Gives the embeddings of a file, (3, 2, 4) on the CPU."""

    def __init__(self):
        self.bank = torch.zeros(3, 2, 4)

    def embed(self, vocabulary, keep_templates):
        assert keep_templates and list(vocabulary.classes) == sorted(WORDS.classes)
        return self.bank


def model(*, training, chunk, device=DEVICE):
    return SimpleNamespace(
        classifier=Banks(),
        normalizer=SimpleNamespace(device=device),
        inference=SimpleNamespace(class_chunk=chunk),
        training=training,
        _resident=(None, None),
    )


@pytest.mark.parametrize(
    "training, chunk, place",
    [
        (True, 2, "meta"),  # training reads all classes at once
        (False, 0, "meta"),  # no chunks
        (False, 3, "meta"),  # one chunk holds all three classes
        (False, 2, "cpu"),  # two chunks: each goes to the device when it is needed
    ],
)
def test_where_the_embeddings_stand(training, chunk, place):
    assert SED.embed(model(training=training, chunk=chunk), WORDS).device.type == place


def test_the_copy_is_made_once_for_each_bank():
    sed = model(training=False, chunk=0)
    first = SED.embed(sed, WORDS)
    assert SED.embed(sed, WORDS) is first
    sed.classifier.bank = torch.zeros(3, 2, 4)
    assert SED.embed(sed, WORDS) is not first


def test_what_stands_on_the_device_is_not_copied():
    sed = model(training=True, chunk=0, device=torch.device("cpu"))
    assert SED.embed(sed, WORDS) is sed.classifier.bank


@pytest.mark.parametrize("class_chunk, tried", [(0, [3, 1]), (2, [2, 1]), (99, [3, 1])])
def test_classes_that_do_not_fit_into_memory_are_decoded_in_half_the_chunk(
    monkeypatch, class_chunk, tried
):
    chunks = []

    def decoding(decoder, dense, skips, text, *, chunk, top_k, votes):
        chunks.append(chunk)
        if chunk > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"{len(text)} classes, {top_k} kept"

    monkeypatch.setattr(sed_module, "Decoding", decoding)
    maps = dict.fromkeys(sed_module.SKIPS, torch.zeros(1, 2))
    stand_in = SimpleNamespace(
        encoder=lambda images: (torch.zeros(1, 4, 2, 2), maps),
        classifier=SimpleNamespace(votes=lambda cells, names: None),
        embed=lambda vocabulary: torch.zeros(3, 2, 4),
        decoder=None,
        inference=SimpleNamespace(class_chunk=class_chunk, top_k=8),
    )
    assert list(SED.decode(stand_in, None, [WORDS])) == ["3 classes, 8 kept"]
    assert chunks == tried
