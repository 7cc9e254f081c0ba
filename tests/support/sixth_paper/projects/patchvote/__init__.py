"""PatchVote, an invented paper: what the least of papers looks like, for tests/test_contract.py."""

from .config import add_config
from .patchvote import PatchVote

__all__ = ["PatchVote", "add_config"]
