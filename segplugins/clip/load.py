"""load_clip: a model name and weights to CLIP's towers; the only file that imports open_clip."""

import difflib
import logging
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import open_clip
import torch
from torch import Tensor, nn

from segplugins.files.checkpoint_file import ENDINGS, is_checkpoint_path
from segplugins.files.tensors import copy_tensors, read_state_dict

from . import drawn  # noqa: F401  timm finds ours by name
from .towers import ClipTowers, TextTower

_CONFIGS = Path(__file__).parent / "models"
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
open_clip.add_model_config(_CONFIGS)


def load_clip(
    name: str,
    weights: str = "",
    *,
    drop: Optional[float] = None,
    drop_path: Optional[float] = None,
) -> ClipTowers:
    """Builds CLIP's towers, in float32 on the CPU, in evaluation mode.

    Args:
        name: a model of open_clip; or "convnext_drawn" (total stride 16) or "eva_drawn" (patches
            of 8 pixels): ours, small.
        weights: "" = random, from torch's global generator; a tag that open_clip knows for this
            model, downloaded on first use; or a local .pt, .pth, .bin or .safetensors file of
            open_clip, or written by CLIP pre-training here.
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
                name,
                pretrained=tag,
                vision_cfg=config["vision_cfg"],
                weights_only=True,
                device=torch.get_default_device(),  # "meta" where only sizes are asked for
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
        ClipFile(path).copy_into(towers)
    return towers


def load_tokenizer(context_length: int) -> Callable[[Sequence[str]], Tensor]:
    """Returns CLIP's tokenizer: texts to (T, context_length) int64 ids.

    Args:
        context_length: most tokens of a text; a longer one is cut and keeps its end token.
    """
    return open_clip.tokenizer.SimpleTokenizer(context_length=context_length)


def _config(name: str, *, drop: Optional[float], drop_path: Optional[float]) -> Dict[str, Any]:
    """Returns open_clip's configuration of the model with the options put in."""
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
    """Returns the tag or the file that `weights` means, or neither."""
    if not weights:
        return None, None
    path = Path(weights)
    if path.is_file():
        return None, path
    if is_checkpoint_path(weights):
        raise FileNotFoundError(
            f"no CLIP weights file '{weights}' (MODEL.CLIP.WEIGHTS): name another, or make it as "
            "the first lines of the config say"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not open_clip.get_pretrained_cfg(name, weights):
        raise ValueError(
            f"unknown weights '{weights}' of CLIP model '{name}'. Known tags: {tags or 'none'}; "
            f"or give a file ({', '.join(ENDINGS)})"
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


class ClipFile:
    """A file of a CLIP's weights, read once.

    Args:
        path: what `load_clip` takes as a file.

    Raises:
        ValueError: it is no plain state dict.
    """

    def __init__(self, path: Path):
        self.path = path
        self._state = {_our_name(key): value for key, value in read_state_dict(path).items()}

    def has_image_tower(self, towers: ClipTowers) -> bool:
        """Returns whether it holds every tensor of the image tower."""
        own = {key: value for key, value in _tensors(towers).items() if key.startswith("visual.")}
        return all(self._has(key, value) for key, value in own.items())

    def copy_into(self, towers: ClipTowers) -> None:
        """Copies the weights into towers.

        Raises:
            ValueError: they are another model's.
        """
        wanted = {**_tensors(towers), "logit_scale": towers.logit_scale.data}
        state = dict(self._state)
        if "logit_scale" in state:
            state["logit_scale"] = state["logit_scale"].reshape(towers.logit_scale.shape)
        copy_tensors(state, wanted, source=self.path, target=f"'{towers.name}'")
        for part, what in (("visual.", "image"), ("text.", "text")):
            own = [key for key in wanted if key.startswith(part)]
            if not any(self._has(key, wanted[key]) for key in own):
                raise ValueError(
                    f"{self.path} holds no weight of the {what} tower of '{towers.name}': it is "
                    "another model's; name its file as MODEL.CLIP.WEIGHTS, or its model as "
                    "MODEL.CLIP.NAME"
                )

    def _has(self, key: str, like: Tensor) -> bool:
        return key in self._state and self._state[key].shape == like.shape


def _tensors(towers: ClipTowers) -> Dict[str, Tensor]:
    return nn.ModuleDict({"visual": towers.visual, "text": towers.text}).state_dict()


def _our_name(key: str) -> str:
    for prefix, ours in _PREFIXES:
        if key.startswith(prefix):
            key = ours + key.removeprefix(prefix)
    return f"text.{key}" if key.split(".")[0] in _TEXT_PARTS else key


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
