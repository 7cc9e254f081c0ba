"""ImageCells, and word_similarity: how alike cells are to words, as maps of the image's size.

B images, D width of the space shared with texts, (h, w) grid of cells, K words.
"""

from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from segplugins.structures.vocabulary import record_vocabulary

from .classifier import VocabularyClassifier
from .postprocess import MaskResizer

_CHUNK = 16  # maps that are resized at a time


class ImageCells(NamedTuple):
    """Embeddings of the cells of a batch of images, in the space of texts.

    Args:
        embeddings: (B, D, h, w), of any length.
        sizes: height and width of each image in the batch.
        padded: height and width that the cells cover.
    """

    embeddings: Tensor
    sizes: Sequence[Sequence[int]]
    padded: Tuple[int, int]


def word_similarity(
    cells: ImageCells, records: Sequence[dict], classifier: VocabularyClassifier
) -> List[Tensor]:
    """Returns per image (K, height, width) cosines of its cells and its words, float32.

    Args:
        cells: of the B images.
        records: B, with "vocabulary" or "texts", "height" and "width" of the result and, where the
            image was padded, "image_box".
        classifier: embeds the words; a word takes the best of its synonyms, or their mean. A
            memory does not vote.
    """
    maps = []
    for own, record, size in zip(cells.embeddings, records, cells.sizes):
        words = record_vocabulary(record)
        logits = classifier.text_logits(own.float().permute(1, 2, 0), words)
        if classifier.bias is not None:
            logits = logits - classifier.bias
        cosines = (logits / classifier.scale()).permute(2, 0, 1)
        resize = MaskResizer.of_record(record, cells.padded, size, _CHUNK)
        maps.append(torch.cat([part for _, part in resize.chunks(cosines)]))
    return maps
