"""The vote: each patch's class probabilities, averaged over its neighbours."""

import torch.nn.functional as F
from torch import Tensor


def vote(logits: Tensor, window: int) -> Tensor:
    """Averages each patch's class probabilities over its neighbours.

        v[k, p] = 1/|N(p)| * sum over q in N(p) of softmax(s[:, q])[k]        (Eq. 3)

    N(p) is the window around p cut at the image border, so |N(p)| < r*r there.

    Args:
        logits: (B, K, h, w), the scores s.
        window: r, odd and >= 1. At 1 this is the plain softmax.

    Returns:
        (B, K, h, w), summing to 1 over K.

    Raises:
        ValueError: `window` is even or < 1.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be odd and >= 1 so that it has a middle, got {window}")
    # A softmax adds up in the order of the classes; sorted, every order gives the same sum.
    powers = (logits - logits.amax(dim=1, keepdim=True)).exp()
    votes = powers / powers.sort(dim=1).values.sum(dim=1, keepdim=True)
    votes = votes.contiguous()  # the backward pass of the pooling takes no other layout
    # Padding is left out of the count, or the border would sum to less than 1.
    return F.avg_pool2d(votes, window, stride=1, padding=window // 2, count_include_pad=False)
