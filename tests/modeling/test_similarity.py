"""word_similarity: cosines whatever the temperature, at the image's size, without its padding."""

import pytest
import torch
from torch.nn import functional as F

from segplugins.clip import load_clip
from segplugins.modeling.classifier import VocabularyClassifier
from segplugins.modeling.similarity import ImageCells, word_similarity
from segplugins.text import TextEncoder


@pytest.mark.parametrize("temperature, bias", [(1.0, None), (0.01, -4.0)])
def test_a_cell_that_is_a_word_has_the_cosine_1_in_its_place(temperature, bias):
    torch.manual_seed(0)
    towers = load_clip("convnext_drawn")
    classifier = VocabularyClassifier(
        TextEncoder(towers), temperature=temperature, bias=bias
    ).eval()
    rows = classifier.embed(["sky"])
    cells = torch.randn(1, 64, 2, 4)
    cells[0, :, 1, 3] = 7 * rows[0]  # length does not count
    record = {"texts": ["sky", "grass"], "vocabulary": None, "height": 8, "width": 12}
    with torch.no_grad():
        (maps,) = word_similarity(ImageCells(cells, [(8, 16)], (8, 16)), [record], classifier)
        assert maps.shape == (2, 8, 12)
        assert maps[0, -1, -1].item() == pytest.approx(1.0, abs=1e-5)
        expected = F.normalize(cells[0, :, 0, 0], dim=0) @ rows[0]
        assert maps[0, 0, 0].item() == pytest.approx(expected.item(), abs=1e-5)
        # The right half is padding: the cell that is the word lies there and is not seen.
        narrow = {**record, "width": 8}
        (maps,) = word_similarity(ImageCells(cells, [(8, 8)], (8, 16)), [narrow], classifier)
        assert maps.shape == (2, 8, 8) and maps[0].max() < 0.9
