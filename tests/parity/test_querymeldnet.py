"""QueryMeldNet against recordings: here the referring metrics of X-Decoder's evaluator."""

import numpy as np
import pytest
import torch

from segplugins.evaluation.referring_scores import intersection_and_union, referring_scores

PERCENT = 1e-5  # the reference divides in float32


def test_referring_metrics_equal_x_decoder(parity):
    recording = np.load(parity / "referring_metrics.npz")
    images = sorted({key.split("/")[0] for key in recording if key.startswith("img")})
    assert images
    counts = []
    for image in images:
        masks = torch.from_numpy(recording[f"{image}/pred_logits"]).sigmoid() > 0.5
        counts.append(intersection_and_union(masks, torch.from_numpy(recording[f"{image}/gt"]) > 0))
    scores = referring_scores(torch.cat(counts).numpy())
    names = {"cIoU": "oIoU", "mIoU": "mIoU"}
    recorded = [key.removeprefix("metric/") for key in recording if key.startswith("metric/")]
    assert set(names) < set(recorded)
    for name in recorded:
        ours = scores[names.get(name, name.replace("precision", "Pr"))]
        assert ours == pytest.approx(float(recording[f"metric/{name}"]), abs=PERCENT), name
