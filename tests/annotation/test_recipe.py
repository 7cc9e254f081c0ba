import re
from dataclasses import dataclass
from typing import Any, ClassVar, Optional, Sequence, Tuple, Union

import pytest
import yaml

from segplugins.annotation.adapters import KINDS
from segplugins.annotation.filters import FilterScore
from segplugins.annotation.model_spec import FolderSpec, ModelSpec
from segplugins.annotation.recipe import Settings, read_recipe, recipe_of
from segplugins.annotation.recipe_values import checked, fill


@dataclass(frozen=True, kw_only=True)
class ToySpec(ModelSpec):
    kind: ClassVar[str] = "toy"
    roles: ClassVar[Tuple[str, ...]] = ("scorer", "tagger")

    size: int = 1
    names: Sequence[str] = ()
    missing: Optional[str] = None

    def check(self):
        if self.missing:
            raise FileNotFoundError(f"no file '{self.missing}'")

    def build(self, device):
        return f"toy {self.size} on {device}"


KNOWN = {**KINDS, "toy": ToySpec}
GOOD = {
    "models": {"one": {"kind": "toy", "size": 2}},
    "stages": [{"tag_image": {"model": "one"}}, "filter_duplicates"],
}


def recipe(**changes):
    return recipe_of({**GOOD, **changes}, KNOWN)


def test_stages_get_their_models_and_numbers():
    built = recipe().build("cuda:1")
    assert [(stage.title, getattr(stage, "model", None)) for stage in built] == [
        ("1 tag_image", "toy 2 on cuda:1"), ("2 filter_duplicates", None),
    ]  # fmt: skip
    assert built[0].annotator == "one"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": []}, "unknown key 'stage', the nearest is 'stages'"),
        ({"stages": []}, "stages are [], expected a list of stages"),
        ({"stages": None}, "stages are None, expected a list of stages"),
        ({"stages": [{"filter_clp": {}}]},
         "stage 1: unknown key 'filter_clp', the nearest is 'filter_clip'"),
        ({"stages": ["filter_area", {"filter_area": {"lower": 1}}]},
         "stage 2 (filter_area): unknown key 'lower', the nearest is 'low'"),
        ({"stages": [{"filter_area": {"low": "0.1"}}]},
         "stage 1 (filter_area), key 'low' is '0.1', expected a number"),
        ({"stages": [{"filter_area": {"drop": 1}}]}, "key 'drop' is 1, expected true or false"),
        ({"stages": [{"filter_area": {"low": True}}]}, "key 'low' is True, expected a number"),
        ({"stages": [{"filter_area": {"title": "x"}}]}, "unknown key 'title'"),
        ({"stages": [{"filter_area": {"low": 2}}]}, "stage 1 (filter_area): low is 2.0, expected"),
        ({"stages": [{"filter_score": {}}]}, "stage 1 (filter_score): key 'threshold' is missing"),
        ({"stages": [{"filter_area": [1]}]}, "stage 1 (filter_area) has [1], expected a mapping"),
        ({"stages": [["filter_area"]]}, "stage 1 is ['filter_area'], expected a name"),
        ({"stages": [{"a": {}, "b": {}}]}, "expected a name with its keys"),
        ({"stages": [{"tag_image": {"model": "two"}}]},
         "stage 1 (tag_image): no model 'two'; the recipe has ['one']"),
        ({"stages": [{"detect": {"model": "one"}}]},
         "model 'one' of kind 'toy' is a scorer and tagger, expected a detector"),
        ({"stages": ["filter_duplicates"]}, "no stage uses model 'one'"),
        ({"stages": [{"verify_existence": {"model": "one"}}]},
         "key 'rivals' is the vocabulary, and there is none"),
        ({"stages": [{"filter_jitter": {"model": "one", "offsets": 0.1}}]},
         "key 'offsets' is 0.1, expected a list of numbers"),
        ({"models": [1]}, "models are [1], expected a mapping of names"),
        ({"models": {"one": "toy"}}, "model 'one' is 'toy', expected a mapping with 'kind'"),
        ({"models": {"one": {"kind": "toi"}}}, "model 'one': kind is 'toi', expected one of "),
        ({"models": {"one": {"kind": "toy", "sice": 1}}},
         "model 'one': unknown key 'sice', the nearest is 'size'"),
        ({"models": {"one": {"kind": "toy", "size": 1.5}}},
         "model 'one', key 'size' is 1.5, expected a whole number"),
        ({"task": "refering"}, "task is 'refering', expected one of 'referring'"),
        ({"start": "boxs"}, "start is 'boxs', expected one of 'nothing', 'boxes', 'regions'"),
        ({"fraction": 1.5}, "fraction is 1.5, expected 0 to 1"),
        ({"batch_size": 0}, "batch_size is 0, expected 1 or more"),
        ({"vocabulary": ["a", "a"]}, "recipe: vocabulary"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_its_place(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        recipe(**changes)
    assert str(caught.value).startswith("recipe") and "\n" not in str(caught.value)


def test_weights_are_checked_without_loading(tmp_path):
    asked = recipe(models={"one": {"kind": "toy", "missing": "clip.pt"}})
    remedy = "; --set models.one.missing=PATH names another"
    with pytest.raises(FileNotFoundError, match=rf"model 'one': no file 'clip.pt'.*{remedy}"):
        asked.check_models()

    @dataclass(frozen=True, kw_only=True)
    class Spec(FolderSpec):
        kind: ClassVar[str] = "sam"

    with pytest.raises(FileNotFoundError, match="no folder '.*none' with the weights of kind 'sam'"
                       "; expected config.json and model.safetensors"):  # fmt: skip
        Spec(folder=str(tmp_path / "none")).check()
    (tmp_path / "config.json").touch()
    with pytest.raises(FileNotFoundError, match=r"lacks the weights \(model.safetensors or "):
        Spec(folder=str(tmp_path)).check()
    (tmp_path / "model.safetensors").write_text("1")
    Spec(folder=str(tmp_path)).check()
    before = Spec(folder=str(tmp_path)).identity()
    assert "folder" not in before
    (tmp_path / "model.safetensors").write_text("2")
    assert Spec(folder=str(tmp_path)).identity() != before


def test_identity_changes_with_models_stages_words_and_numbers():
    same = [recipe(), recipe(remarks="for people")]
    assert same[0].identity() == same[1].identity()
    others = [
        recipe(batch_size=2),
        recipe(models={"one": {"kind": "toy", "size": 3}}),
        recipe(stages=GOOD["stages"][:1]),
        recipe(stages=[{"tag_image": {"model": "one", "threshold": 0.5}}, "filter_duplicates"]),
        recipe(vocabulary=["a"]),
        recipe(vocabulary=["b"]),
    ]
    texts = {str(each.identity()) for each in [same[0], *others]}
    assert len(texts) == 7


def test_the_vocabulary_reaches_the_stages_that_ask_for_it():
    stages = [{"verify_existence": {"model": "one"}}]
    asked = recipe(start="regions", stages=stages, vocabulary=["dog, puppy", "cat"])
    assert asked.stages[0].rivals == ("dog, puppy", "cat")
    stages = [{"verify_existence": {"model": "one", "rivals": ["x"]}}]
    assert recipe(start="regions", stages=stages).stages[0].rivals == ("x",)


ASKS = {"model": "one"}


def ordered(stages, start):
    asks = any(isinstance(each, dict) and "model" in str(each) for each in stages)
    models = {"one": {"kind": "truth", "lines": "x.jsonl"}} if asks else {}
    return recipe(models=models, start=start, stages=stages)


@pytest.mark.parametrize(
    ("stages", "start", "message"),
    [
        (
            [{"segment_boxes": ASKS}],
            "nothing",
            "1 segment_boxes: it works on regions, and no stage",
        ),
        ([{"verify_mask": ASKS}], "boxes", "verify_mask: it works on masks.* put segment_boxes or"),
        ([{"detect": ASKS}], "boxes", "detect: it works on tags.* put tag_image before it"),
        ([{"segment_phrase": ASKS}], "boxes", "it works on captions.* put caption_image before"),
        (["filter_area", {"decide": {}}], "boxes", "2 decide: it works on failures.* put a stage"),
        (
            [{"filter_score": {"threshold": 0.5, "value": "mask_stability"}}],
            "boxes",
            "it works on stabilities.* put filter_jitter before it",
        ),
        (
            [{"filter_jitter": ASKS}, {"segment_boxes": ASKS}],
            "boxes",
            "1 filter_jitter: it works on masks",
        ),
    ],
)
def test_a_stage_that_has_nothing_to_work_on_is_refused(stages, start, message):
    with pytest.raises(ValueError, match=message):
        ordered(stages, start)
    assert ordered(stages, "regions").stages


def test_stages_that_find_what_they_need_are_taken():
    stages = [
        {"detect": {"model": "one", "names": ["a"]}},
        {"segment_boxes": ASKS},
        {"filter_jitter": {"model": "one", "drop": False}},
        {"filter_score": {"threshold": 0.5, "value": "mask_stability"}},
        "decide",
    ]
    assert len(ordered(stages, "nothing").stages) == 5


def test_a_file_is_read_and_changed(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    changes = ["models.one.size=5", "stages.1.tag_image.threshold=0.25", "seed=3"]
    changed = read_recipe(path, KNOWN, changes, vocabulary=["a"])
    assert changed.models["one"].size == 5 and changed.stages[0].threshold == 0.25
    assert changed.settings.seed == 3 and changed.vocabulary == ("a",)
    for change, message in {
        "models.one": "'models.one' is no change of a recipe",
        "models.one.size.x=1": "models.one.size holds no keys",
        "stages.9.x=1": "the recipe has no stages.9",
        "seed=[": "the value is no YAML",
    }.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            read_recipe(path, KNOWN, [change])
    path.write_text("- 1")
    with pytest.raises(ValueError, match="expected a mapping with 'stages'"):
        read_recipe(path, KNOWN)
    with pytest.raises(FileNotFoundError, match="the recipe does not exist"):
        read_recipe(tmp_path / "none.yaml", KNOWN)


def test_values_of_either_type():
    hint = Union[str, Sequence[str]]
    assert checked("a", hint, "x") == "a" and checked(["a"], hint, "x") == ("a",)
    with pytest.raises(ValueError, match="x is 3, expected text or a list of texts"):
        checked(3, hint, "x")
    assert checked(None, Optional[int], "x") is None and checked(2, float, "x") == 2.0


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("stages.9.1.tag_image.threshold=0.5", "stages.9"),  # not the first stage
        ("stages.0.tag_image.threshold=0.5", "stages.0"),  # they are numbered from 1
        ("stages.3.x.y=1", "stages.3"),
        ("stages.tag_image.threshold=0.5", "stages.tag_image"),
        ("stages.-1.tag_image.threshold=0.5", "stages.-1"),
    ],
)
def test_a_change_of_a_stage_that_is_not_there_changes_no_other(tmp_path, change, place):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    with pytest.raises(ValueError, match=re.escape(f"'{change}': the recipe has no {place}")):
        read_recipe(path, KNOWN, [change])


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (2, float, 2.0),
        (True, bool, True),
        ([1, 2], Sequence[float], (1.0, 2.0)),
        ((), Sequence[str], ()),
        (["a"], Tuple[str, ...], ("a",)),
        (None, Optional[str], None),
        ({"any": 1}, Any, {"any": 1}),
        (3, Union[int, str], 3),
    ],
)
def test_values_get_the_form_of_their_field(value, hint, expected):
    made = checked(value, hint, "x")
    assert made == expected and type(made) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, float, "x is True, expected a number"),
        (True, int, "x is True, expected a whole number"),
        (2.0, int, "x is 2.0, expected a whole number"),
        (1, bool, "x is 1, expected true or false"),
        ("0.5", float, "x is '0.5', expected a number"),
        (None, str, "x is None, expected text"),
        ([1, "b"], Sequence[float], "x[1] is 'b', expected a number"),
        ("ab", Sequence[str], "x is 'ab', expected a list of texts"),
        (0.5, Optional[Sequence[int]], "x is 0.5, expected a list of whole numbers"),
        (0, Union[str, Sequence[str]], "x is 0, expected text or a list of texts"),
    ],
)
def test_values_of_another_type_are_named(value, hint, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checked(value, hint, "x")


def test_keys_that_a_field_lacks_are_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"^p: unknown key 'fradtion', the nearest is 'fraction'$"):
        fill(Settings, {"fradtion": 1}, "p")
    with pytest.raises(ValueError, match=r"^p: unknown key 'a'; it takes no keys$"):
        fill(ModelSpec, {"a": 1}, "p")
    assert fill(Settings, {"fraction": 1, "task": "salient"}, "p") == {
        "fraction": 1.0,
        "task": "salient",
    }
    with pytest.raises(ValueError, match=r"^p: unknown key 'seed', the nearest is '"):
        fill(Settings, {"seed": 1}, "p", hidden=("seed",))
    with pytest.raises(ValueError, match=r"^p: key 'threshold' is missing$"):
        fill(FilterScore, {}, "p")
