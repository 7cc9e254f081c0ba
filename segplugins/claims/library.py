"""Which claims a word on the command line means: a claim, all of a paper, or a file."""

from difflib import get_close_matches
from pathlib import Path
from typing import Dict, List, Sequence

from segplugins.claims.claim import Claim
from segplugins.claims.read_claim import read_claim


def claim_files(folder: Path) -> Dict[str, Path]:
    """Returns name to file of the claims in a folder, in alphabetical order."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_claims(words: Sequence[str], folder: Path) -> List[Claim]:
    """Returns the claims that words name, each once, in the order of the words.

    Args:
        words: names of papers (all their claims), of claims or paths of files; none = all claims.
            A claim with the name of its paper stands alone by its path.
        folder: of the claims that names stand for.

    Raises:
        ValueError: a word names nothing; or see `read_claim`.
    """
    files = claim_files(folder)
    claims: Dict[Path, Claim] = {}
    papers: Dict[str, List[Path]] = {}
    for path in files.values():
        papers.setdefault(read_claim(path).paper, []).append(path)
    for word in words or map(str, files.values()):
        for path in _paths(word, files, papers):
            claims.setdefault(path.resolve(), read_claim(path))
    return list(claims.values())


def _paths(word: str, files: Dict[str, Path], papers: Dict[str, List[Path]]) -> List[Path]:
    if word in papers:
        return papers[word]
    if word in files:
        return [files[word]]
    if word.endswith((".yaml", ".yml")):
        return [Path(word)]
    nearest = get_close_matches(word, [*files, *papers], n=1, cutoff=0.0)
    close = f"the nearest is '{nearest[0]}'; " if nearest else ""
    raise ValueError(
        f"no claim or paper '{word}'; {close}--list shows all, and a claim of your own is named by "
        "its .yaml file"
    )
