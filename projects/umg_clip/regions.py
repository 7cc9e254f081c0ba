"""region_embeddings: boxes on a map of tokens to one vector each (Eq. 1).

B images, C channels, (h, w) grid, N boxes of the batch.
"""

import torch
from torch import Tensor
from torchvision.ops import roi_align


def region_embeddings(features: Tensor, boxes: Tensor, image: Tensor, *, bins: int = 1) -> Tensor:
    """Returns (N, C), RoIAlign of each box and the mean of its bins.

    A box smaller than a cell takes the value of the map at its place.

    Args:
        features: (B, C, h, w).
        boxes: (N, 4) x0, y0, x1, y1 as shares of the padded image.
        image: (N,) int64, which image each box is of.
        bins: bins a side; 1 = about one sample per cell.
    """
    height, width = features.shape[-2:]
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        scaled = boxes.to(features) * features.new_tensor([width, height, width, height])
        rois = torch.cat([image.to(features)[:, None], scaled], dim=1)
        pooled = roi_align(features, rois, bins, sampling_ratio=-1, aligned=True)
    return pooled.mean(dim=(2, 3))
