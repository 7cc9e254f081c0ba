"""Models behind the interfaces of annotation, by the kind that a recipe names."""

from typing import Dict, Type

from segplugins.annotation.model_spec import ModelSpec

from .truth import TruthSpec

KINDS: Dict[str, Type[ModelSpec]] = {spec.kind: spec for spec in (TruthSpec,)}

__all__ = ["KINDS"]
