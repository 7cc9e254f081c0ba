"""From names and phrases to the features of CLIP's text tower."""

from .encoder import TextEncoder, TextFeatures
from .templates import template_names, template_set

__all__ = ["TextEncoder", "TextFeatures", "template_names", "template_set"]
