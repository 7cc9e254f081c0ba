"""Models whose answers are plain, for tests of the call, its results and the demo."""

import torch
from torch import nn

from segplugins.structures import get_vocabulary


class Brightness(nn.Module):
    """Scores: how dark, how bright, and nothing for the others, at the size wanted."""

    def __init__(self, label_maps=False):
        super().__init__()
        self.label_maps = label_maps
        self.records, self.batches = [], []

    def forward(self, records):
        self.records.extend(records)
        self.batches.append([tuple(record["image"].shape) for record in records])
        return [self.output(record) for record in records]

    def output(self, record):
        bright = bright_part(record)
        count = len(get_vocabulary(record["vocabulary"]))
        scores = torch.cat([1 - bright, bright, bright.new_zeros(count, *bright.shape[1:])])
        scores = scores[:count]
        if not self.label_maps:
            return {"sem_seg": scores}
        best, labels = scores.max(0)
        return {"sem_seg": labels, "sem_seg_scores": best}


class Pointing(nn.Module):
    """Bright pixels for the first prompt, all for the second, none for the others."""

    def __init__(self, scores=False):
        super().__init__()
        self.scores = scores
        self.records = []

    def forward(self, records):
        self.records.extend(records)
        return [{"phrase_masks": self.point(record)} for record in records]

    def point(self, record):
        bright = bright_part(record)
        others = [torch.full_like(bright, float(i == 0)) for i in range(9)]
        scores = torch.cat([bright, *others])[: len(record["texts"])]
        return scores if self.scores else scores > 0.5


def bright_part(record):
    """Returns (1, height, width), 0-1, the brightness of a record's image without its borders."""
    image = record["image"][:1].float() / 255
    x0, y0, x1, y1 = record.get("image_box", (0, 0, image.shape[2], image.shape[1]))
    size = (record["height"], record["width"])
    return nn.functional.interpolate(image[None, :, y0:y1, x0:x1], size)[0]
