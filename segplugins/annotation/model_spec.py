"""ModelSpec: how a recipe describes a model; it is checked before anything is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Dict, Mapping, Sequence, Tuple

from segplugins.files.digests import path_digest


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The description of a model; its fields are the keys of a recipe.

    A subclass names its `kind` and the roles that its model can play.
    """

    kind: ClassVar[str] = ""
    roles: ClassVar[Tuple[str, ...]] = ()

    def check(self) -> None:
        """Raises ValueError or OSError where the model cannot be built; loads nothing."""

    def check_role(self, role: str) -> None:
        """Raises ValueError where the model cannot play a role as it is described."""

    def identity(self) -> Dict[str, Any]:
        """Returns what decides the model's answers, as JSON: options and digests of its files."""
        return {"kind": self.kind, **{key: _plain(value) for key, value in vars(self).items()}}

    def build(self, device: str) -> Any:
        """Returns the model on a device, "cpu" or "cuda:0"."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FolderSpec(ModelSpec):
    """A model whose weights are a folder, as `save_pretrained` of transformers writes it.

    Args:
        folder: holds config.json and the weights.
    """

    needs: ClassVar[Mapping[str, Sequence[str]]] = {
        "the config": ("config.json",),
        "the weights": (
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ),
    }

    folder: str

    def check(self) -> None:
        folder = Path(self.folder)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"no folder '{folder}' with the weights of kind '{self.kind}'; expected "
                f"{self._expected()} in it"
            )
        for what, names in self.needs.items():
            if not any((folder / name).is_file() for name in names):
                raise FileNotFoundError(
                    f"folder '{folder}' of kind '{self.kind}' lacks {what} "
                    f"({' or '.join(names)}); expected {self._expected()}"
                )

    def _expected(self) -> str:
        return " and ".join(" or ".join(names[:3:2]) for names in self.needs.values())

    def identity(self) -> Dict[str, Any]:
        """Returns the options, with the digest of the folder instead of its path."""
        options = super().identity()
        options.pop("folder")
        return {**options, "digest": path_digest(self.folder)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
