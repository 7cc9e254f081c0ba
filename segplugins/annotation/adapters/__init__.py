"""Models behind the interfaces of annotation, by the kind that a recipe names."""

from typing import Dict, Type

from segplugins.annotation.model_spec import ModelSpec

from .blip import BlipSpec
from .clip import OpenClipSpec
from .files import FileSpec
from .grounding_dino import GroundingDinoSpec
from .owlv2 import Owlv2Spec
from .sam import SamSpec
from .truth import TruthSpec

KINDS: Dict[str, Type[ModelSpec]] = {
    spec.kind: spec
    for spec in (
        BlipSpec,
        FileSpec,
        GroundingDinoSpec,
        OpenClipSpec,
        Owlv2Spec,
        SamSpec,
        TruthSpec,
    )
}

__all__ = ["KINDS"]
