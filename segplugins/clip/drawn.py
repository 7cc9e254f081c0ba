"""Image towers small enough to learn the drawn world on a laptop: a ConvNeXt and an EVA ViT."""

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from torch import nn


@register_model
def convnext_drawn(pretrained: bool = False, pretrained_cfg: Any = None, **kwargs: Any) -> ConvNeXt:
    """A ConvNeXt of 0.4 M parameters whose stages have strides 2, 4, 8, 16.

    timm calls it by name. A stem of stride 2 makes small pictures worth encoding: 128 pixels give
    an 8 x 8 map.
    """
    model = build_model_with_cfg(
        ConvNeXt,
        "convnext_drawn",
        pretrained=False,
        pretrained_cfg={"input_size": (3, 128, 128), "pool_size": (8, 8), "num_classes": 1000},
        depths=(0, 1, 2, 2),
        dims=(16, 32, 64, 128),
        patch_size=2,
        act_layer="relu",  # half the time of a GELU on a CPU
        ls_init_value=None,
        **{key: value for key, value in kwargs.items() if key not in ("cache_dir",)},
    )
    # timm brings any stem of stride 2 to stride 4 in the first stage; here it stays at 2.
    model.stages[0].downsample = nn.Identity()
    for info in model.feature_info:
        info["reduction"] //= 2
    return model


@register_model
def eva_drawn(pretrained: bool = False, pretrained_cfg: Any = None, **kwargs: Any) -> Eva:
    """An EVA-02 of 0.2 M parameters with patches of 8 pixels: 128 pixels give a 16 x 16 map.

    timm calls it by name. Its blocks are those of EVA-02-B/16: separate query, key and value,
    rotated positions, SwiGLU with a norm inside.
    """
    return build_model_with_cfg(
        Eva,
        "eva_drawn",
        pretrained=False,
        pretrained_cfg={"input_size": (3, 128, 128), "num_classes": 1000},
        img_size=128,
        patch_size=8,
        embed_dim=64,
        depth=4,
        num_heads=2,
        mlp_ratio=8 / 3,
        qkv_fused=False,
        swiglu_mlp=True,
        scale_mlp=True,
        scale_attn_inner=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(16, 16),
        **{key: value for key, value in kwargs.items() if key not in ("cache_dir",)},
    )
