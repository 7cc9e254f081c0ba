"""BoxVote, an invented paper that learns from instances and answers with them alone."""

from .boxvote import BoxVote
from .config import add_config

__all__ = ["BoxVote", "add_config"]
