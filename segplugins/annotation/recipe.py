"""Recipe: a YAML file that says which models and stages make the annotations of a data set.

    task: referring                  of the records; what a reader then trains
    start: nothing                   or boxes, or regions: what is taken from the data set
    models:
      segmenter: {kind: sam, folder: weights/sam-vit-huge}
      scorer: {kind: open_clip, name: ViT-B-16, weights: weights/vit_b_16.pt}
    stages:
      - segment_boxes: {model: segmenter}
      - filter_clip: {model: scorer, threshold: 0.2}
      - filter_area: {low: 0.001, high: 0.95}

Everything is checked when the file is read: unknown kinds, stages and keys, values, roles, and
whether weights are there. Nothing is loaded for it.
"""

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

import yaml

from segplugins.annotation.combine import ComposePanoptic, MergeByText
from segplugins.annotation.filters import FILTERS
from segplugins.annotation.model_spec import ModelSpec
from segplugins.annotation.recipe_values import check_keys, checked, fill
from segplugins.annotation.stage import Stage, check_choice, check_share
from segplugins.annotation.stages import (
    CaptionBoxes,
    CaptionImage,
    Detect,
    SegmentBoxes,
    SegmentPhrase,
    SegmentStuff,
    TagImage,
)
from segplugins.annotation.verify import VERIFIERS
from segplugins.files.text import read_yaml
from segplugins.files.vocabularies import vocabulary_of
from segplugins.structures.regions import Task

_MAKERS = (
    TagImage,
    CaptionImage,
    Detect,
    SegmentBoxes,
    CaptionBoxes,
    SegmentPhrase,
    SegmentStuff,
    MergeByText,
    ComposePanoptic,
)
STAGES: Dict[str, Type[Stage]] = {
    **{stage.name: stage for stage in _MAKERS},
    **FILTERS,
    **VERIFIERS,
}
STARTS = ("nothing", "boxes", "regions")
TASKS = (Task.REFERRING, Task.INSTANCE, Task.DETECTION, Task.SALIENT)
_HIDDEN = ("title",)

Kinds = Mapping[str, Type[ModelSpec]]


@dataclass(frozen=True)
class Settings:
    """Keys of a recipe beside "models", "stages" and "vocabulary".

    Args:
        task: of the records.
        start: what is taken from the data set.
        fraction: share of the images, chosen by their names.
        seed: of that choice.
        batch_size: images that the stages see at once; fewer where they are large.
        remarks: for people.
    """

    task: str = "referring"
    start: str = "nothing"
    fraction: float = 1.0
    seed: int = 0
    batch_size: int = 8
    remarks: str = ""

    def __post_init__(self) -> None:
        check_choice("task", self.task, [str(task) for task in TASKS])
        check_choice("start", self.start, STARTS)
        check_share("fraction", self.fraction)
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, expected 1 or more")


@dataclass(frozen=True)
class Recipe:
    """A recipe whose values are checked.

    Args:
        settings: its other keys.
        models: by name.
        stages: with the name of a model where a model goes.
        vocabulary: class names, for stages that ask by them.
    """

    settings: Settings
    models: Dict[str, ModelSpec]
    stages: Tuple[Stage, ...]
    vocabulary: Tuple[str, ...] = ()
    source: Dict[str, Any] = field(default_factory=dict)

    def check_models(self) -> None:
        """Checks that all models can be built, without loading one.

        Raises:
            ValueError, OSError, ImportError: one cannot; the message names the model.
        """
        for name, model in self.models.items():
            try:
                model.check()
                for role in self._roles_of(name, model):
                    model.check_role(role)
            except ImportError as error:
                raise ImportError(f"model '{name}': {error}") from error
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"model '{name}': {error}{_remedy(name, model, error)}"
                ) from error
            except ValueError as error:
                raise ValueError(f"model '{name}': {error}") from error

    def _roles_of(self, name: str, model: ModelSpec) -> List[str]:
        """Returns the roles in which the stages ask a model."""
        asked = {
            role
            for stage in self.stages
            for key, roles in stage.roles.items()
            if getattr(stage, key) == name
            for role in roles
        }
        return [role for role in model.roles if role in asked]

    def identity(self) -> Dict[str, Any]:
        """Returns what decides the annotations, as JSON: options, models, stages, vocabulary."""
        settings = {key: value for key, value in vars(self.settings).items() if key != "remarks"}
        words = hashlib.sha256(json.dumps(self.vocabulary).encode()).hexdigest()[:16]
        return {
            **settings,
            "vocabulary": words if self.vocabulary else "",
            "models": {name: model.identity() for name, model in self.models.items()},
            "stages": [_stage_data(stage) for stage in self.stages],
        }

    def build(self, device: str = "cpu") -> List[Stage]:
        """Returns the stages with their models, each of which is built once."""
        built = {name: model.build(device) for name, model in self.models.items()}
        return [
            replace(stage, **{role: built[getattr(stage, role)] for role in stage.roles})
            for stage in self.stages
        ]


def _remedy(name: str, model: ModelSpec, error: FileNotFoundError) -> str:
    """Returns how to name another file than the one of an error; "" if none is named."""
    for key, value in vars(model).items():
        if isinstance(value, str) and value and value in str(error):
            return f"; --set models.{name}.{key}=PATH names another"
    return ""


def read_recipe(
    path: Union[str, Path], kinds: Kinds, changes: Sequence[str] = (), *, vocabulary: Any = None
) -> Recipe:
    """Reads a recipe and checks all that can be checked without a model.

    Args:
        path: YAML file.
        kinds: model specs by kind, such as `annotation.adapters.KINDS`.
        changes: "models.scorer.weights=clip.pt": values that replace or add to those of the file.
        vocabulary: a list, a file or a registered name instead of the recipe's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no recipe; the message names the place, what was got and what is expected.
    """
    path = Path(path)
    content = read_yaml(path, what="recipe")
    if not isinstance(content, dict):
        raise ValueError(f"recipe {path}: expected a mapping with 'stages', got {content!r:.40}")
    for change in changes:
        _change(content, change)
    return recipe_of(content, kinds, f"recipe {path}", path.parent, vocabulary)


def recipe_of(
    content: Mapping[str, Any],
    kinds: Kinds,
    place: str = "recipe",
    folder: Optional[Path] = None,
    vocabulary: Any = None,
) -> Recipe:
    """Returns the recipe that a mapping describes; see `read_recipe`."""
    own = {each.name for each in fields(Settings)}
    check_keys(content, [*own, "models", "stages", "vocabulary"], place)
    try:
        given = {key: value for key, value in content.items() if key in own}
        settings = Settings(**fill(Settings, given, place))
    except ValueError as error:
        raise ValueError(_placed(error, place)) from error
    given = content.get("vocabulary") if vocabulary is None else vocabulary
    words = _words(given, folder, place)
    models = _models(content.get("models") or {}, kinds, place)
    stages = _stages(content.get("stages"), models, words, place)
    check_order(stages, settings.start, place)
    unused = set(models) - {getattr(stage, role) for stage in stages for role in stage.roles}
    if unused:
        raise ValueError(f"{place}: no stage uses model '{sorted(unused)[0]}'; use or remove it")
    return Recipe(settings, models, tuple(stages), words, dict(content))


def check_order(stages: Sequence[Stage], start: str, place: str) -> None:
    """Raises ValueError at a stage that has nothing to work on, whatever the images show.

    Args:
        stages: with their titles.
        start: what is taken from the data set; with regions come masks, tags and captions.
        place: for messages.
    """
    made = {"boxes": {"regions"}}.get(start, set())
    for stage in stages if start != "regions" else ():
        for need in stage.needed():
            if need not in made:
                names = [name for name, kind in STAGES.items() if need in kind.makes]
                makers = f"{' or '.join(names)} before it" if names else "a stage with drop: false"
                raise ValueError(
                    f"{place}, stage {stage.title}: it works on {need}, and no stage before it "
                    f"makes any: put {makers}, or start from regions"
                )
        made |= set(stage.makes)
        if getattr(stage, "drop", True) is False:
            made.add("failures")


def _words(given: Any, folder: Optional[Path], place: str) -> Tuple[str, ...]:
    if given is None:
        return ()
    try:
        return vocabulary_of(given, name="recipe", source="vocabulary", folder=folder).classes
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{place}: {error}") from error


def _models(given: Any, kinds: Kinds, place: str) -> Dict[str, ModelSpec]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{place}: models are {given!r:.40}, expected a mapping of names")
    models = {}
    for name, described in given.items():
        where = f"{place}, model '{name}'"
        if not isinstance(described, Mapping):
            raise ValueError(f"{where} is {described!r:.40}, expected a mapping with 'kind'")
        options = dict(described)
        kind = options.pop("kind", None)
        if kind not in kinds:
            raise ValueError(f"{where}: kind is {kind!r}, expected one of {', '.join(kinds)}")
        try:
            models[str(name)] = kinds[kind](**fill(kinds[kind], options, where))
        except ValueError as error:
            raise ValueError(_placed(error, where)) from error
    return models


def _stages(
    given: Any, models: Mapping[str, ModelSpec], words: Tuple[str, ...], place: str
) -> List[Stage]:
    if not isinstance(given, list) or not given:
        raise ValueError(f"{place}: stages are {given!r:.40}, expected a list of stages")
    stages = []
    for number, entry in enumerate(given, 1):
        if isinstance(entry, str):
            entry = {entry: {}}
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise ValueError(
                f"{place}, stage {number} is {entry!r:.60}, expected a name with its keys, such as "
                "'filter_area: {low: 0.001}'"
            )
        ((name, options),) = entry.items()
        where = f"{place}, stage {number} ({name})"
        check_keys({name: None}, STAGES, f"{place}, stage {number}")
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"{where} has {options!r:.40}, expected a mapping of keys")
        stages.append(_stage(STAGES[name], number, dict(options or {}), models, words, where))
    return stages


def _stage(
    kind: Type[Stage],
    number: int,
    options: Dict[str, Any],
    models: Mapping[str, ModelSpec],
    words: Tuple[str, ...],
    where: str,
) -> Stage:
    arguments = fill(kind, options, where, _HIDDEN)
    for key, roles in kind.roles.items():
        model = checked(arguments[key], str, f"{where}, key '{key}'")
        if model not in models:
            raise ValueError(f"{where}: no model '{model}'; the recipe has {sorted(models)}")
        if not set(roles) & set(models[model].roles):
            raise ValueError(
                f"{where}: model '{model}' of kind '{models[model].kind}' is a "
                f"{' and '.join(models[model].roles)}, expected a {' or '.join(roles)}"
            )
    for key in {each.name for each in fields(kind)} & {"names", "rivals"}:
        if arguments.get(key, getattr(kind, key)) == "vocabulary":
            if not words:
                raise ValueError(
                    f"{where}: key '{key}' is the vocabulary, and there is none; give the recipe "
                    "the key 'vocabulary', or --vocabulary"
                )
            arguments[key] = words
    if "annotator" in {each.name for each in fields(kind)}:
        arguments.setdefault("annotator", arguments["model"])
    try:
        return kind(**arguments, title=f"{number} {kind.name}")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _stage_data(stage: Stage) -> Dict[str, Any]:
    data = {each.name: getattr(stage, each.name) for each in fields(stage)}
    data.pop("title")
    return {"name": stage.name, **{k: list(v) if type(v) is tuple else v for k, v in data.items()}}


def _change(content: Dict[str, Any], change: str) -> None:
    key, sign, text = change.partition("=")
    parts = key.split(".")
    if not sign or not all(parts):
        raise ValueError(f"'{change}' is no change of a recipe; write models.scorer.weights=FILE")
    node: Any = content
    for depth, part in enumerate(parts[:-1]):
        if isinstance(node, list) and part.isdigit() and 0 < int(part) <= len(node):
            node = node[int(part) - 1]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise ValueError(f"'{change}': the recipe has no {'.'.join(parts[: depth + 1])}")
        if not isinstance(node, (dict, list)):
            raise ValueError(f"'{change}': {'.'.join(parts[: depth + 1])} holds no keys")
    if not isinstance(node, dict):
        raise ValueError(f"'{change}': the recipe has no {'.'.join(parts[:-1])}")
    try:
        node[parts[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"'{change}': the value is no YAML") from error


def _placed(error: ValueError, place: str) -> str:
    return str(error) if str(error).startswith(place) else f"{place}: {error}"
