"""Options of a curation: what decides the archives that it writes."""

from dataclasses import asdict, dataclass
from typing import Any, Dict

from segplugins.search import KINDS

from .scores import NORMS, RANKINGS, check_ranking

EXPANSIONS = ("vision", "lang", "none")
NOUNS = ("rule", "nltk", "spacy")
INDEXES = ("exact", *KINDS)
CODE_CLUSTERS = 0  # as the released code: half as many clusters as concepts

__all__ = [
    "CODE_CLUSTERS",
    "EXPANSIONS",
    "INDEXES",
    "NORMS",
    "NOUNS",
    "RANKINGS",
    "ArchiveOptions",
]


@dataclass(frozen=True)
class ArchiveOptions:
    """How concepts are found, ranked and clustered; the defaults are the paper's, CoCu in full.

    Args:
        vocabulary: text of the concepts' names, see `parse_vocabulary`; "" = built from captions.
        vocabulary_size: most names of a built one.
        min_count: fewest captions that hold a name of a built one.
        nouns: how a built one finds nouns, one of `NOUNS`.
        expansion: "vision" takes the captions of images that look alike (Sec. 3.2), "lang" those
            captions that say what the image shows, "none" the image's own.
        neighbours: N, images or captions retrieved.
        index: one of `INDEXES`.
        exclude_self: the image is none of its own neighbours.
        add_own: concepts of its own caption join the archive in any case.
        ranking: see `score_concepts`.
        norm: see `score_concepts`.
        substring: a caption counts for a concept that its concepts contain as letters, as in the
            released code: "cat" in "cattle".
        clusters: K; `CODE_CLUSTERS` = half as many as concepts.
        top: most concepts of an image that are kept, the best.
        seed: of the clusters.

    Raises:
        ValueError: a value outside its range, or ones that do not go together.
    """

    vocabulary: str = ""
    vocabulary_size: int = 2000
    min_count: int = 5
    nouns: str = "rule"
    expansion: str = "vision"
    neighbours: int = 8
    index: str = "exact"
    exclude_self: bool = False
    add_own: bool = False
    ranking: str = "vision"
    norm: str = "per_image_max"
    substring: bool = False
    clusters: int = 3
    top: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("expansion", EXPANSIONS), ("index", INDEXES), ("nouns", NOUNS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is '{getattr(self, name)}', expected one of {choices}")
        check_ranking(self.norm, self.ranking)
        if self.neighbours < 1 or self.top < 1 or self.clusters < 0:
            raise ValueError(
                f"neighbours {self.neighbours}, top {self.top}, clusters {self.clusters}: the "
                "first two start at 1, clusters at 1 or 0 for half as many as concepts"
            )
        if self.expansion != "vision" and self.ranking == "vision":
            raise ValueError(
                f"ranking 'vision' compares with retrieved images, and expansion "
                f"'{self.expansion}' retrieves none; choose ranking 'naive'"
            )

    def identity(self) -> Dict[str, Any]:
        """Returns the options as JSON."""
        return asdict(self)
