"""detectron2's Swin Transformer, and other programs' Swin weights for it.

"A Swin" is the first version, with a table of relative position biases; the second has none.
timm's own forward pass is another function where a map is no multiple of the window: it shifts
before it pads, Microsoft's code for dense prediction and detectron2's pad before they shift.
"""

import logging
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from detectron2.modeling.backbone.swin import BasicLayer, SwinTransformer
from torch import Tensor

from segplugins.files.tensors import copy_tensors, read_state_dict

logger = logging.getLogger(__name__)

STAGES = 4
_TABLE = ".attn.relative_position_bias_table"
# Buffers that every Swin computes from its window.
_COMPUTED = ("relative_position_index", "attn_mask")
# A norm per output, which classifiers lack: they begin as they are and are trained.
_NEW = tuple(f"norm{i}.{kind}" for i in range(STAGES) for kind in ("weight", "bias"))
_PARTS = re.compile(r"patch_embed\.|layers\.\d+\.(blocks\.\d+|downsample)\.|norm\d\.")


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences detectron2, which calls torch.meshgrid and timm as they were some versions ago."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def build_stage(channels: int, *, depth: int, heads: int, window_size: int) -> BasicLayer:
    """Builds one stage of a Swin, without a patch merging behind it.

    Returns:
        The stage; of (B, h w, C) cells, h and w it returns a tuple that begins with the new cells.
    """
    with _without_warnings():
        return BasicLayer(channels, depth, heads, window_size=window_size)


def build_swin(
    *,
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_size: int,
    patch_size: int,
    drop_path: float,
    weights: str,
) -> SwinTransformer:
    """Builds a Swin that gives "p0" to "p3", finest first, each behind a norm of its own.

    Args:
        embed_dim: channels of p0, doubled at every stage.
        depths: blocks of the four stages.
        num_heads: heads of the four stages.
        window_size: in cells.
        patch_size: pixels per side of p0's cells.
        drop_path: of the last block; it rises evenly from 0.
        weights: see `load_swin`; "" = random.

    Returns:
        The backbone; output_shape() has channels and strides.

    Raises:
        ValueError: a value outside its range, or see `load_swin`.
        FileNotFoundError: there is no file `weights`.
    """
    _check_stages(embed_dim, depths, num_heads)
    for name, value in (("WINDOW_SIZE", window_size), ("PATCH_SIZE", patch_size)):
        if value < 1:
            raise ValueError(f"SWIN.{name} must be at least 1, got {value}")
    if not 0 <= drop_path < 1:
        raise ValueError(f"SWIN.DROP_PATH must lie in [0, 1), got {drop_path}")
    with _without_warnings():
        model = SwinTransformer(
            patch_size=patch_size,
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=window_size,
            drop_path_rate=drop_path,
        )
    # detectron2 writes down the strides of patches of 4 pixels whatever their size, and the total
    # one under a name that its property does not find.
    model._out_feature_strides = {f"p{i}": patch_size * 2**i for i in range(STAGES)}
    model._size_divisibility = patch_size * 2 ** (STAGES - 1)
    if weights:
        load_swin(model, weights)
    return model


def _check_stages(embed_dim: int, depths: Sequence[int], num_heads: Sequence[int]) -> None:
    if embed_dim < 1:
        raise ValueError(f"SWIN.EMBED_DIM must be at least 1, got {embed_dim}")
    for name, values in (("DEPTHS", depths), ("NUM_HEADS", num_heads)):
        if len(values) != STAGES or min(values) < 1:
            raise ValueError(
                f"SWIN.{name} must be {STAGES} numbers of at least 1, one per stage; "
                f"got {list(values)}"
            )
    for i, heads in enumerate(num_heads):
        if (embed_dim * 2**i) % heads:
            raise ValueError(
                f"SWIN.NUM_HEADS {list(num_heads)}: the {embed_dim * 2**i} channels of stage {i} "
                f"do not part into {heads} heads; EMBED_DIM is {embed_dim}"
            )


def swin_names(tensors: Mapping[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Gives the weights of a Swin detectron2's names.

    Args:
        tensors: of Microsoft (classifier or detector), timm (classifier or features) or
            torchvision, bare or below "module." or "backbone.".

    Returns:
        The tensors of the backbone, and the names of the others: classifier, last norm, buffers
        that are computed. If it is no Swin, none and all.
    """
    bare = {name.removeprefix("module.").removeprefix("backbone."): name for name in tensors}
    # timm writes the stages of a model for features as layers_0 and so on.
    bare = {re.sub(r"^layers_(?=\d)", "layers.", name): given for name, given in bare.items()}
    if not any(name.endswith(_TABLE) for name in bare):
        return {}, sorted(tensors)
    # Where patches merge: with Microsoft at the end of a stage, with timm at the beginning.
    merges_first = not any(name.startswith("layers.0.downsample.") for name in bare)
    renamed, used = {}, set()
    for name, given in bare.items():
        ours = _our_name(name, merges_first)
        if _PARTS.match(ours) and not ours.endswith(_COMPUTED):
            renamed[ours] = tensors[given]
            used.add(given)
    return renamed, sorted(tensors.keys() - used)


def _our_name(name: str, merges_first: bool) -> str:
    if not name.startswith("features."):
        merge = re.match(r"layers\.(\d+)\.downsample\.", name)
        if merge and merges_first:
            return f"layers.{int(merge[1]) - 1}.downsample.{name[merge.end() :]}"
        return name
    # torchvision counts the stem, stages and merges through: features.0, .1, .2 and so on.
    _, place, rest = name.split(".", 2)
    stage, merges = divmod(int(place) - 1, 2)
    if place == "0":
        return {"0": "patch_embed.proj.", "2": "patch_embed.norm."}.get(rest[0], "") + rest[2:]
    if merges:
        return f"layers.{stage}.downsample.{rest}"
    rest = rest.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
    return f"layers.{stage}.blocks.{rest}"


def load_swin(model: SwinTransformer, path: str) -> None:
    """Copies a Swin's weights into a backbone and logs by name what it lacks and what is left over.

    Args:
        model: of `build_swin`; changed in place.
        path: a local file of tensors, see `read_state_dict` and `swin_names`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not readable without running code from it, or fits less than half.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no Swin weights file '{path}'; give a local file, or \"\" for random weights"
        )
    weights, unused = swin_names(read_state_dict(Path(path)))
    if not weights:
        raise ValueError(
            f"{path} holds no Swin: none of its {len(unused)} tensors is a {_TABLE.split('.')[-1]} "
            f"(it has {', '.join(unused[:3])}, ...); expected weights of Microsoft, timm or "
            "torchvision, not of Swin V2"
        )
    state_dict = {k: v for k, v in model.state_dict().items() if not k.endswith(_COMPUTED)}
    expected = _NEW if not weights.keys() & set(_NEW) else ()
    name = f"a Swin of {model.embed_dim} channels"
    copy_tensors(weights, state_dict, source=path, target=name, new=expected)
    if unused:
        logger.info("%s: %d tensors unused: %s", path, len(unused), ", ".join(unused))
