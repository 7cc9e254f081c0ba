"""Stage: one step of annotation. A recipe names stages, their models and their numbers."""

from dataclasses import dataclass
from typing import Any, ClassVar, Dict, List, Sequence, Tuple

from segplugins.annotation.sample import Sample


@dataclass(kw_only=True)
class Stage:
    """Changes samples in place.

    A stage asks its models about all samples first and changes samples only then, so that it can be
    asked again with fewer samples where memory was short or one image made a model fail.

    Its fields are the keys of a recipe; those in `roles` are models.

    Args:
        title: how the audit calls it; a recipe puts its number in front.
    """

    name: ClassVar[str] = ""
    needs: ClassVar[Tuple[str, ...]] = ()  # what stages before it, or the data set, have to make
    makes: ClassVar[Tuple[str, ...]] = ()
    roles: ClassVar[Dict[str, Tuple[str, ...]]] = {}  # field to the roles that its model may have

    title: str = ""

    def __post_init__(self) -> None:
        self.title = self.title or self.name
        self.check()

    def check(self) -> None:
        """Raises ValueError where a number is out of range."""

    def needed(self) -> Tuple[str, ...]:
        """Returns what it needs with the numbers that it has."""
        return self.needs

    def __call__(self, samples: Sequence[Sample]) -> None:
        raise NotImplementedError


def check_share(name: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """Raises ValueError unless a number lies between two bounds, both included."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, expected {low:g} to {high:g}")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises ValueError unless a value is one of several."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")


def asked(samples: Sequence[Sample], wanted: Sequence[Sequence[Any]]) -> List[int]:
    """Returns the samples that there is something to ask about, as positions."""
    return [index for index in range(len(samples)) if len(wanted[index])]
