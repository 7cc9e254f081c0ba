"""VocabularyClassifier: embeddings x any vocabulary or phrases -> logits.

K classes, R rows (one per synonym, or one per class), P templates, D width of the shared space.
"""

import math
from typing import List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segplugins.structures import Vocabulary, check_templates
from segplugins.text import TextEncoder
from segplugins.text.bank import TextBank, embed_groups

from .memory_vote import MemoryVote

Names = Union[Vocabulary, Sequence[str]]

_SYNONYMS = ("max", "mean")
_NORMALIZE = ("each_prompt", "mean")
_MAX_SCALE = 100.0


class VocabularyClassifier(nn.Module):
    """Scores embeddings by cosine similarity against the texts of a vocabulary given at call time.

        logit = <visual / |visual|, text> / temperature + bias

    While the text encoder is frozen, embeddings are cached per vocabulary, in memory and, with a
    folder, on disk. A checkpoint loaded into it empties the memory. With a trained text encoder
    they are computed at every call in training, and cached between two calls of train() otherwise.

    `memory`, if a model sets it, is asked at test: its votes are added to the cosines.

    Args:
        text_encoder: strings to embeddings of width D.
        temperature: divides the cosine similarity, > 0.
        templates: prompts with the placeholder "{}", unless the vocabulary brings its own.
        synonyms: "max" = a class takes the best logit among its synonyms; "mean" = their
            embeddings are averaged within each template.
        normalize: "each_prompt" = prompts are normalised before they are averaged (CLIP);
            "mean" = only their mean is.
        learn_temperature: makes the temperature a parameter, `logit_scale` = ln(1 / temperature),
            whose exponential is held at 100 at most (CLIP).
        bias: start of a learned bias on all logits; None = no bias.
        frozen_text: the text encoder gets no gradient.
        cache_dir: folder of the embeddings on disk, "" = none.

    Raises:
        ValueError: an option outside the above.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        *,
        temperature: float,
        templates: Sequence[str] = ("{}",),
        synonyms: str = "max",
        normalize: str = "each_prompt",
        learn_temperature: bool = False,
        bias: Optional[float] = None,
        frozen_text: bool = True,
        cache_dir: str = "",
    ):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature divides and must be above 0, got {temperature}")
        if synonyms not in _SYNONYMS:
            raise ValueError(f"synonyms must be one of {_SYNONYMS}, got '{synonyms}'")
        if normalize not in _NORMALIZE:
            raise ValueError(f"normalize must be one of {_NORMALIZE}, got '{normalize}'")
        self.text_encoder = text_encoder
        self.templates = check_templates(templates, owner="the model")
        self.synonyms = synonyms
        self.each_prompt = normalize == "each_prompt"
        self.frozen_text = frozen_text
        if frozen_text:
            text_encoder.requires_grad_(False)
        scale = torch.tensor(math.log(1 / temperature))
        if learn_temperature:
            self.logit_scale = nn.Parameter(scale)
        else:
            self.register_buffer("logit_scale", scale, persistent=False)
        self.learn_temperature = learn_temperature
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))
        # Weights that still change would leave a file behind at every evaluation.
        self._bank = TextBank(text_encoder, cache_dir if frozen_text else "")
        self.memory: Optional[MemoryVote] = None
        self.register_load_state_dict_post_hook(lambda module, _: module._bank.clear())
        self.train(self.training)

    def train(self, mode: bool = True) -> "VocabularyClassifier":
        """A frozen text encoder stays in evaluation mode; a trained one loses its cache."""
        super().train(mode)
        if self.frozen_text:
            self.text_encoder.eval()
        else:
            self._bank.clear()
        if self.memory is not None:
            self.memory.forget_weights()
        return self

    def embed(self, names: Names, keep_templates: bool = False) -> Tensor:
        """Embeds the texts of a vocabulary.

        Args:
            names: a vocabulary, or phrases, which are encoded as they stand.
            keep_templates: do not average over the templates.

        Returns:
            (R, D), or (R, P, D) with `keep_templates`; float32, unit length along D. R counts
            synonyms if they are scored by "max", else classes. With a cache folder it is
            memory-mapped on the CPU: move the rows that you need.
        """
        groups, templates = self._prompts(names)
        options = {"keep_templates": keep_templates, "each_prompt": self.each_prompt}
        if self.training and not self.frozen_text:
            return embed_groups(self.text_encoder, groups, templates, **options)
        return self._bank.get(groups, templates, **options)

    def score(self, visual: Tensor, text: Tensor) -> Tensor:
        """Compares embeddings.

        Args:
            visual: (..., D), of any length: it is normalised here.
            text: (R, D), from `embed`.

        Returns:
            (..., R) logits.

        Raises:
            ValueError: the widths differ.
        """
        if visual.shape[-1] != text.shape[-1]:
            raise ValueError(
                f"visual embeddings have {visual.shape[-1]} channels, text embeddings "
                f"{text.shape[-1]}: the backbone and the text encoder must end in one space"
            )
        text = text.to(device=visual.device, dtype=visual.dtype)
        # A matrix product may round a row's last bit by the row's place. In an order of their own
        # the rows' results are the same wherever the caller has them: permuting a vocabulary
        # permutes its logits exactly.
        order = text[:, 0].argsort(stable=True)
        logits = F.normalize(visual, dim=-1) @ text[order].T * self.scale()
        logits = logits if self.bias is None else logits + self.bias
        return logits.index_select(-1, order.argsort())

    def scale(self) -> Tensor:
        """Returns scalar, 1 / temperature."""
        scale = self.logit_scale.reshape(()).exp()  # sharded it is a vector of one number
        return scale.clamp(max=_MAX_SCALE) if self.learn_temperature else scale

    def forward(self, visual: Tensor, vocabulary: Names) -> Tensor:
        """Scores embeddings against a vocabulary, or against phrases, and adds votes at test.

        Args:
            visual: (..., D).

        Returns:
            (..., K) logits in the vocabulary's order.
        """
        logits, votes = self.text_logits(visual, vocabulary), self.votes(visual, vocabulary)
        return logits if votes is None else logits + self.scale() * votes.to(logits.dtype)

    def votes(self, visual: Tensor, vocabulary: Names) -> Optional[Tensor]:
        """Returns (..., K) what the memory adds to the cosines; None in training or without one.

        Raises:
            ValueError: the memory is of other classes or of another encoder.
        """
        if self.memory is None or self.training:
            return None
        is_vocabulary = isinstance(vocabulary, Vocabulary)
        return self.memory(visual, vocabulary.classes if is_vocabulary else list(vocabulary))

    def text_logits(self, visual: Tensor, vocabulary: Names) -> Tensor:
        """Returns (..., K) logits of embeddings (..., D) by their texts alone."""
        text = self.embed(vocabulary)
        if len(text) == len(vocabulary):
            return self.score(visual, text)
        return self._best_synonym(visual, text, vocabulary.synonyms)

    def _best_synonym(
        self, visual: Tensor, text: Tensor, synonyms: Sequence[Tuple[str, ...]]
    ) -> Tensor:
        """Returns (..., K), the highest logit of each class, never holding (..., R)."""
        counts = torch.tensor([len(texts) for texts in synonyms])
        first = counts.cumsum(0) - counts
        logits = self.score(visual, text[first.to(text.device)])
        for rank in range(1, int(counts.max())):
            classes = (counts > rank).nonzero()[:, 0]
            more = self.score(visual, text[(first[classes] + rank).to(text.device)])
            classes = classes.to(logits.device)
            logits = logits.index_copy(
                -1, classes, torch.maximum(logits.index_select(-1, classes), more)
            )
        return logits

    def _prompts(self, names: Names) -> Tuple[List[Tuple[str, ...]], Tuple[str, ...]]:
        if not isinstance(names, Vocabulary):
            if isinstance(names, str):
                raise ValueError(f"expected a vocabulary or a list of phrases, got {names!r}")
            return [(phrase,) for phrase in names], ("{}",)
        templates = names.templates or self.templates
        if self.synonyms == "mean":
            return list(names.synonyms), templates
        return [(text,) for texts in names.synonyms for text in texts], templates
