"""The pixel-level image-text cost map (Sec. 3.1, Eq. 1).

B images · K classes · P templates · D width of the embeddings · (h, w) the encoder's last grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cost_map(dense: Tensor, text: Tensor) -> Tensor:
    """Cosine similarity of every pixel with every prompt.

        F_cv(i, j, n, p) = <F_v(i, j), E(n, p)> / (|F_v(i, j)| |E(n, p)|)              (Eq. 1)

    There is no temperature. It is computed in float32 under autocast too: classes that resemble
    each other differ in the third digit, which bfloat16 rounds away.

    Args:
        dense: (B, D, h, w), the visual embedding F_v.
        text: (K, P, D), the prompt embeddings E; any length.

    Returns:
        (B, K, P, h, w) float32, between -1 and 1.

    Raises:
        ValueError: the two do not end in one space.
    """
    if dense.shape[1] != text.shape[-1]:
        raise ValueError(
            f"visual embeddings have {dense.shape[1]} channels, text embeddings {text.shape[-1]}: "
            "the image encoder and the text encoder must come from one CLIP"
        )
    with torch.autocast(dense.device.type, enabled=False):
        pixels = F.normalize(dense.float(), dim=1).flatten(2)
        prompts = text.float().flatten(0, 1)
        cosines = prompts @ pixels
        # The bank is the largest tensor there is: its lengths are divided out of the products,
        # instead of making a copy of unit length.
        lengths = torch.linalg.vector_norm(prompts, dim=-1, keepdim=True).clamp_min(1e-12)
        cosines = cosines.div_(lengths) if not cosines.requires_grad else cosines / lengths
    return cosines.unflatten(1, text.shape[:2]).unflatten(-1, dense.shape[-2:])
