"""CLIP's two towers behind one door: the only file that imports open_clip.

T texts, L tokens, S nodes of a packed row, B rows, W width of the text tower, D width of the space
that image and text share.
"""

import difflib
import hashlib
import logging
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Tuple, Union

import open_clip
import torch
from timm.models import build_model_with_cfg, register_model
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn

__all__ = ["ClipTowers", "TextTower", "copy_tensors", "load_clip", "read_state_dict"]

logger = logging.getLogger(__name__)

_CONFIGS = Path(__file__).parent / "clip_models"
_FILES = (".pt", ".pth", ".bin", ".safetensors")
_TEXT_PARTS = (
    "token_embedding",
    "positional_embedding",
    "transformer",
    "ln_final",
    "text_projection",
)
# Where other programs keep a tower, and what it is called here.
_PREFIXES = (
    ("module.", ""),
    ("encoder.", "visual."),
    ("classifier.text_encoder.", ""),
    ("classifier.logit_scale", "logit_scale"),
)


class TextTower(nn.Module):
    """CLIP's causal text transformer, walked by hand so that short texts cost little.

    Parameter names are those of open_clip's text tower.

    Args:
        source: open_clip's model, or its `text` where that is a part of its own.
    """

    def __init__(self, source: nn.Module):
        super().__init__()
        self.token_embedding = source.token_embedding
        self.positional_embedding = source.positional_embedding
        self.transformer = source.transformer
        self.ln_final = source.ln_final
        self.text_projection = source.text_projection
        self.heads = source.transformer.resblocks[0].attn.num_heads

    @property
    def context_length(self) -> int:
        """Number of positions that the tower knows."""
        return self.positional_embedding.shape[0]

    @property
    def width(self) -> int:
        """W, the width of the tokens before the projection."""
        return self.positional_embedding.shape[1]

    def forward(self, tokens: Tensor) -> Tuple[Tensor, Tensor]:
        """Encodes padded token rows of any length up to the context.

        Args:
            tokens: (T, L) int64; the end token has the largest id, as in CLIP's vocabulary.

        Returns:
            (T, D) projected, not normalised; (T, L, W) after the last norm, before the projection.
        """
        length = tokens.shape[1]
        positions = torch.arange(length, device=tokens.device).expand_as(tokens)
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        hidden = self.walk(tokens, positions, causal)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.project(hidden[rows, tokens.argmax(dim=1)]), hidden

    def walk(self, tokens: Tensor, positions: Tensor, reach: Tensor) -> Tensor:
        """Runs the transformer on tokens that may lie packed in any order.

        Args:
            tokens: (B, S) int64.
            positions: (B, S) int64, the place of each token in its own text.
            reach: (S, S) or (B, S, S) bool, True where the first token may look at the second.

        Returns:
            (B, S, W) after the last norm.
        """
        dtype = self.transformer.get_cast_dtype()
        x = self.token_embedding(tokens).to(dtype)
        x = x + self.positional_embedding.to(dtype)[positions]
        mask = torch.zeros_like(reach, dtype=x.dtype).masked_fill_(~reach, float("-inf"))
        if mask.dim() == 3:  # torch's attention wants one mask per row and head
            mask = mask.repeat_interleave(self.heads, dim=0)
        return self.ln_final(self.transformer(x, attn_mask=mask))

    def project(self, hidden: Tensor) -> Tensor:
        """Maps (..., W) into the shared space: (..., D)."""
        if self.text_projection is None:
            return hidden
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection(hidden)
        return hidden @ self.text_projection


@dataclass
class ClipTowers:
    """The parts of a CLIP model.

    Args:
        name: open_clip's model name, or "convnext_drawn".
        visual: open_clip's image tower, for instance with `.trunk` and `.head`.
        text: the text tower.
        encode: one text to its token ids, start and end token included, not cut to any length.
        logit_scale: scalar, natural logarithm of the factor on cosine similarities.
        embed_dim: D.
        image_size: height and width that the model was made for.
        image_mean: mean per channel, RGB on the 0-1 scale.
        image_std: standard deviation per channel, the same scale.
    """

    name: str
    visual: nn.Module
    text: TextTower
    encode: Callable[[str], Tuple[int, ...]]
    logit_scale: nn.Parameter
    embed_dim: int
    image_size: Tuple[int, int]
    image_mean: Tuple[float, float, float]
    image_std: Tuple[float, float, float]

    @property
    def context_length(self) -> int:
        """Number of tokens of the longest text, start and end token included."""
        return self.text.context_length

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Returns: (T, context_length) int64; a longer text keeps its end token."""
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(rows, texts):
            ids = self.encode(text)
            if len(ids) > self.context_length:
                ids = ids[: self.context_length - 1] + ids[-1:]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the name and any weight of the text tower."""
        return fingerprint(self.name, self.text)


def fingerprint(name: str, module: nn.Module) -> str:
    """Returns: 16 hex digits that change with the name, a parameter's name or any of its bits."""
    digest = hashlib.sha256(name.encode())
    for key, value in module.state_dict().items():
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def load_clip(
    name: str,
    weights: str = "",
    *,
    drop: Optional[float] = None,
    drop_path: Optional[float] = None,
) -> ClipTowers:
    """Builds CLIP's towers, in float32 on the CPU, in evaluation mode.

    Args:
        name: a model of open_clip, or "convnext_drawn": ours, small, total stride 16.
        weights: "" = random, from torch's global generator; a tag that open_clip knows for this
            model, downloaded on first use; or a local .pt, .pth, .bin or .safetensors file of
            open_clip, or written by training `ClipPretraining`.
        drop: dropout of the image head; None = what open_clip says.
        drop_path: highest stochastic depth of the image trunk; None = what open_clip says, which
            is not always what a paper trained with.

    Raises:
        ValueError: unknown name or tag, a file that is not a plain state dict, that matches less
            than half of the model, or an option that the model does not have.
        FileNotFoundError: `weights` looks like a file and is none.
    """
    config = _config(name, drop=drop, drop_path=drop_path)
    tag, path = _source(name, weights, quick_gelu=bool(config.get("quick_gelu", False)))
    with _quiet():
        try:
            model = open_clip.create_model(
                name, pretrained=tag, vision_cfg=config["vision_cfg"], weights_only=True
            )
        except Exception as error:
            if tag is None:
                raise
            raise RuntimeError(
                f"weights '{tag}' of {name} could not be downloaded ({error}); where there is a "
                "network save them to a file and give its path as MODEL.CLIP.WEIGHTS"
            ) from error
        tokenizer = open_clip.get_tokenizer(name)
    towers = _towers(name, model.eval(), tokenizer)
    if path is not None:
        _load(towers, path)
    return towers


def read_state_dict(path: Path) -> Dict[str, Tensor]:
    """Reads tensors by name from a checkpoint, never running code that stands in it.

    Args:
        path: .safetensors, or what torch.save wrote: a state dict, bare or under "model" or
            "state_dict".

    Raises:
        ValueError: the file is a TorchScript archive, holds more than tensors and plain
            containers, or no tensors at all.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(str(path))
        except Exception as error:
            raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.endswith("constants.pkl") for entry in archive.namelist()):
                raise ValueError(
                    f"{path} is a TorchScript archive, which is a program; make it a plain state "
                    f"dict first: python tools/convert_checkpoint.py {path} OUT.pth --unsafe, "
                    "if you trust where it comes from"
                )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} is not a plain checkpoint of tensors ({reason}); "
            "tools/convert_checkpoint.py makes one of it"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise ValueError(f"{path} holds no tensors by name; expected a state dict")
    return tensors


def copy_tensors(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    source: Union[str, Path],
    target: str,
    new: Sequence[str] = (),
) -> None:
    """Copies a checkpoint into a model and says by name what did not fit.

    Args:
        found: of the checkpoint, under the model's names.
        wanted: the model's state dict; changed in place.
        source: the file, for messages.
        target: what the model is, for messages.
        new: tensors that such a checkpoint never has; the log names them without a warning.

    Raises:
        ValueError: less than half of the wanted tensors are found in their shape.
    """
    fits = {k: v for k, v in found.items() if k in wanted and v.shape == wanted[k].shape}
    reports = {
        "missing": sorted(wanted.keys() - found.keys() - set(new)),
        "of another shape": [
            f"{k} {tuple(found[k].shape)} for {tuple(wanted[k].shape)}"
            for k in sorted(found.keys() & wanted.keys() - fits.keys())
        ],
        "unexpected": sorted(found.keys() - wanted.keys()),
    }
    if 2 * len(fits) < len(wanted):
        detail = "; ".join(f"{what}: {_some(keys)}" for what, keys in reports.items() if keys)
        raise ValueError(
            f"{source} matches {len(fits)} of the {len(wanted)} tensors of {target}, less "
            f"than half: it is another model's. {detail}"
        )
    with torch.no_grad():
        for key, value in fits.items():
            wanted[key].copy_(value)
    logger.info("%s: %d of %d tensors of %s", source, len(fits), len(wanted), target)
    if untouched := sorted(wanted.keys() & set(new) - found.keys()):
        logger.info("%s: left as they were built: %s", source, ", ".join(untouched))
    for what, keys in reports.items():
        if keys:
            logger.warning("%s: %d tensors %s: %s", source, len(keys), what, ", ".join(keys))


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


open_clip.add_model_config(_CONFIGS)


def _config(name: str, *, drop: Optional[float], drop_path: Optional[float]) -> Dict[str, Any]:
    """Returns: open_clip's configuration of the model with the options put in."""
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.4)
        raise ValueError(
            f"unknown CLIP model '{name}'. Nearest known: {near}; open_clip.list_models() names all"
        )
    text = config["text_cfg"]
    if "hf_model_name" in text or "hf_tokenizer_name" in text or text.get("no_causal_mask"):
        raise ValueError(
            f"the text tower of '{name}' is not CLIP's causal one, which is what is supported; "
            "choose a ViT, RN, convnext or EVA model"
        )
    vision = config["vision_cfg"]
    options = {"timm_drop": drop, "timm_drop_path": drop_path}
    options = {key: value for key, value in options.items() if value is not None}
    if options and "timm_model_name" not in vision:
        raise ValueError(
            f"'{name}' has no timm image tower, so drop and drop_path do not apply; "
            "the convnext_* models have one"
        )
    vision.update(options)
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    return config


def _source(name: str, weights: str, *, quick_gelu: bool) -> Tuple[Optional[str], Optional[Path]]:
    """Returns: the tag or the file that `weights` means, or neither."""
    if not weights:
        return None, None
    path = Path(weights)
    if path.is_file():
        return None, path
    if path.suffix in _FILES or "/" in weights:
        raise FileNotFoundError(
            f"no CLIP weights file '{weights}' (MODEL.CLIP.WEIGHTS): name another, or make it as "
            "the first lines of the config say"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not open_clip.get_pretrained_cfg(name, weights):
        raise ValueError(
            f"unknown weights '{weights}' of CLIP model '{name}'. Known tags: {tags or 'none'}; "
            f"or give a file ({', '.join(_FILES)})"
        )
    wanted = bool(open_clip.get_pretrained_cfg(name, weights).get("quick_gelu", False))
    if wanted != quick_gelu:
        other = f"{name}-quickgelu" if wanted else name.removesuffix("-quickgelu")
        raise ValueError(
            f"weights '{weights}' were trained with another activation than '{name}' has and "
            f"would be silently wrong in it; choose '{other}'"
        )
    return weights, None


def _towers(name: str, model: nn.Module, tokenizer: Any) -> ClipTowers:
    text = TextTower(getattr(model, "text", model)).eval()
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id

    @lru_cache(maxsize=2**16)  # training asks for the same class names at every step
    def encode(text: str) -> Tuple[int, ...]:
        ids = tokenizer.encode(text)
        # The end token may stand in the text itself: CLIP reads up to the first.
        return (start, *(ids[: ids.index(end)] if end in ids else ids), end)

    size = model.visual.image_size
    projection = text.text_projection
    return ClipTowers(
        name=name,
        visual=model.visual,
        text=text,
        encode=encode,
        logit_scale=model.logit_scale,
        embed_dim=text.width
        if projection is None
        else text.project(torch.zeros(text.width)).numel(),
        image_size=(size, size) if isinstance(size, int) else tuple(size),
        image_mean=tuple(model.visual.image_mean),
        image_std=tuple(model.visual.image_std),
    )


def _load(towers: ClipTowers, path: Path) -> None:
    model = nn.ModuleDict({"visual": towers.visual, "text": towers.text})
    wanted = {**model.state_dict(), "logit_scale": towers.logit_scale.data}
    found = {_our_name(key): value for key, value in read_state_dict(path).items()}
    if "logit_scale" in found:
        found["logit_scale"] = found["logit_scale"].reshape(towers.logit_scale.shape)
    copy_tensors(found, wanted, source=path, target=f"'{towers.name}'")


def _our_name(key: str) -> str:
    for prefix, ours in _PREFIXES:
        if key.startswith(prefix):
            key = ours + key.removeprefix(prefix)
    return f"text.{key}" if key.split(".")[0] in _TEXT_PARTS else key


def _some(keys: Sequence[str], most: int = 5) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip reports every step on the root logger, and so would install a handler there."""
    root, silent = logging.getLogger(), logging.NullHandler()
    level = root.manager.disable
    root.addHandler(silent)
    logging.disable(max(level, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(level)
        root.removeHandler(silent)
