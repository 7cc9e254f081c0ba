"""The multi-label loss: an image and the L texts of its concepts (GroupViT; CoCu, Eq. 3 to 5).

B images of a process, L texts of an image, D width, W processes.
"""

import torch
from detectron2.utils import comm
from torch import Tensor
from torch.nn import functional as F

from segplugins.modeling.contrastive import gather_rows, mean_over_processes

FORMS = ("code", "paper")


def multi_label_contrastive(
    images: Tensor, texts: Tensor, logit_scale: Tensor, *, form: str = "code"
) -> Tensor:
    """Returns the mean of both directions over all processes, with the gradient of all of them.

        image to text: mean_i [ logsumexp_{j, l} s_ijl - (1/L) sum_l s_iil ]        (code)
                       mean_i [ logsumexp_{j, l} s_ijl - logsumexp_l s_iil ]        (paper, Eq. 3)
        text to image: mean over the B L texts of the cross-entropy over all images

    The released code asks every concept of an image to be near; the paper's formula is content with
    one. Processes may have different numbers of images, and none: all of them must call this.

    Args:
        images: (B, D), of any length: normalised here, in float32.
        texts: (B, L, D).
        logit_scale: scalar factor on the cosine.
        form: one of `FORMS`.

    Raises:
        ValueError: an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"the multi-label loss has the forms {FORMS}, got '{form}'")
    with torch.autocast(images.device.type, enabled=False):
        images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
        batch, labels = texts.shape[:2]
        scale = logit_scale.float()
        # The numbers of images differ where some of a batch have no text.
        counts = comm.all_gather(batch) if comm.get_world_size() > 1 else [batch]
        before = sum(counts[: comm.get_rank()])
        all_texts = gather_rows(texts.flatten(0, 1))
        to_texts = scale * images @ all_texts.T  # (B, W B L)
        own = torch.arange(batch * labels, device=images.device) + before * labels
        positive = to_texts.gather(1, own.view(batch, labels))
        if form == "code":
            attracted = positive.mean(dim=1)
        else:
            attracted = positive.logsumexp(dim=1)
        image_to_text = (to_texts.logsumexp(dim=1) - attracted).sum()
        to_images = scale * texts.flatten(0, 1) @ gather_rows(images).T  # (B L, W B)
        own_image = torch.arange(batch, device=images.device).repeat_interleave(labels) + before
        attracted = to_images.gather(1, own_image[:, None])[:, 0]
        text_to_image = (to_images.logsumexp(dim=1) - attracted).sum()
        return 0.5 * (
            mean_over_processes(image_to_text, batch)
            + mean_over_processes(text_to_image, batch * labels)
        )
