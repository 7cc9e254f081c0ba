"""The files of claims: those of this repository, and every mistake in one line."""

from pathlib import Path

import pytest

from segplugins.claims import find_claims, plan_runs, read_claim
from segplugins.claims.configs import check_metrics

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ROOT / "configs" / "claims"


@pytest.mark.parametrize("path", sorted(CLAIMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_claim_merges_into_real_configs_and_measures_what_they_evaluate(path, config_of):
    claim = read_claim(path)
    plan = plan_runs(
        [claim], Path("out"), lambda name: read_claim(CLAIMS / f"{name}.yaml"), seeds=[0]
    )
    check_metrics([claim], plan, config_of)
    assert len(plan.cells) == len(claim.shown) >= 2
    assert (ROOT / "projects" / claim.paper / "__init__.py").is_file()
    assert claim.seeds == (0, 1, 2)
    for run in plan.runs:
        assert run.tool == "-m" or (ROOT / "tools" / run.tool).is_file()


def test_a_paper_stands_for_its_claims_and_a_word_for_nothing_names_the_nearest(tmp_path, claim_of):
    names = [claim.name for claim in find_claims(["sed"], CLAIMS)]
    assert names == ["sed_classes", "sed_rejection", "sed_skip"]
    # The paper's name is that of one of its claims too: this one stands alone by its file.
    alone = find_claims([str(CLAIMS / "unilseg.yaml")], CLAIMS)
    every = find_claims(["unilseg"], CLAIMS)
    assert [claim.name for claim in alone] == ["unilseg"]
    assert {"unilseg", "unilseg_noise"} <= {claim.name for claim in every}
    assert {claim.paper for claim in every} == {"unilseg"}
    assert len(find_claims([], CLAIMS)) == len(list(CLAIMS.glob("*.yaml")))
    claim_of()
    own = find_claims([str(tmp_path / "mine.yaml"), "sed_skip", "sed_skip"], CLAIMS)
    assert [claim.name for claim in own] == ["mine", "sed_skip"]
    with pytest.raises(ValueError, match="no claim or paper 'sed_skp'; the nearest is 'sed_skip'"):
        find_claims(["sed_skp"], CLAIMS)


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("title:", "titel:", "the file: unknown key 'titel', the nearest is 'title'"),
        ("says: What is said.\n", "", "the file has no 'says'"),
        ("[0, 1]", "[0, 0]", r"seeds is \[0, 0\], expected different whole numbers"),
        ("[0, 1]", "[]", "seeds is .*expected different whole numbers"),
        ("[0, 1]", "[0, -1]", "seeds is .*expected different whole numbers"),
        ("[INPUT.MIN_SIZE_TEST, 64]", "[INPUT.MIN_SIZE_TEST]", "evaluate.small.options is .*pairs"),
        ("of: plain", "of: plane", "evaluate.small.of: no row 'plane', the nearest is 'plain'"),
        ("small:", "plain:", "'plain' stands in rows and in evaluate"),
        ("better: lower", "better: less", "metrics.error.better is 'less', expected higher or"),
        ("scale: 100", "scale: 0", "metrics.error.scale is 0, expected a number above 0"),
        (
            "path: deep/value",
            "mean: deep/value",
            "metrics.error.mean is 'deep/value', expected a list",
        ),
        ("path: deep/value, ", "", "metrics.error has 'path', or 'mean' with several paths"),
        ("config: base", "config: bass", "rows.plain.config: no config file '.*bass.yaml'"),
        ("config: base.yaml\n", "", "rows.plain has no config, and the file names none"),
        ("  plain: []", "  a/b: []", "rows.a/b: a row is named like its folder"),
        ("  plain: []", "  plain: {same: sed}", "rows.plain: same is 'claim/row'"),
        ("evaluate:", "shown: [plane]\nevaluate:", "shown: no row 'plane', the nearest is"),
        ("rows:", "needs: {a: {row: x, command: []}}\nrows:", "needs.a: expected one of config"),
        ("rows:", "needs: {a: {command: [x.py]}}\nrows:", "needs.a has no 'makes'"),
        ("rows:", "needs: {seed: {row: plain}}\nrows:", "needs.seed: a step is named by a word"),
    ],
)
def test_a_mistake_in_a_claim_file_is_one_line(before, after, message, texts, claim_of):
    BODY, ROWS = texts
    with pytest.raises(ValueError, match=f"claim file .*mine.yaml: {message}"):
        claim_of((BODY + ROWS).replace(before, after, 1))
