"""word_similarity: how alike the cells of an image are to words, as maps of the image's size.

B images, D width of the space shared with texts, (h, w) grid of cells, K words.
"""

from typing import List, Sequence

import torch
from torch import Tensor

from segplugins.structures.vocabulary import record_vocabulary

from .classifier import VocabularyClassifier
from .postprocess import MaskResizer

_CHUNK = 16  # maps that are resized at a time


def word_similarity(
    cells: Tensor,
    records: Sequence[dict],
    classifier: VocabularyClassifier,
    sizes: Sequence[Sequence[int]],
    padded: Sequence[int],
) -> List[Tensor]:
    """Returns per image (K, height, width) cosines of its cells and its words, float32.

    Args:
        cells: (B, D, h, w), of any length.
        records: B, with "vocabulary" or "texts", "height" and "width" of the result and, where the
            image was padded, "image_box".
        classifier: embeds the words; a word takes the best of its synonyms, or their mean.
        sizes: height and width of each image in the batch.
        padded: height and width that the cells cover.
    """
    maps = []
    for own, record, size in zip(cells, records, sizes):
        logits = classifier(own.float().permute(1, 2, 0), record_vocabulary(record))
        if classifier.bias is not None:
            logits = logits - classifier.bias
        cosines = (logits / classifier.scale()).permute(2, 0, 1)
        resize = MaskResizer.of_record(record, padded, size, _CHUNK)
        maps.append(torch.cat([part for _, part in resize.chunks(cosines)]))
    return maps
