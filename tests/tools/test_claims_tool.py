"""tools/claims.py on the command line: names, options in any order, errors, tables."""

import importlib.util
from pathlib import Path

import pytest

from segplugins.engine.command import run_command

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("claims_tool", ROOT / "tools" / "claims.py")
tool = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Types a command; returns exit status, standard output and error."""
    monkeypatch.setattr(
        "segplugins.claims.execute.ChildProcess.__call__", lambda *a: pytest.fail("a run began")
    )

    def run(*words):
        with pytest.raises(SystemExit) as end:
            run_command(tool.main, tool.build_parser(), argv=list(words))
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    return run


def test_names_and_pairs_may_stand_on_both_sides_of_the_options():
    args = tool.build_parser().parse_args(
        ["sed_skip", "own.yaml", "--seeds", "2,0,2", "--num-gpus", "0", "SOLVER.MAX_ITER", "3",
         "INPUT.X", "-1"]
    )  # fmt: skip
    assert args.seeds == [2, 0] and args.num_gpus == 0
    names, options = tool.names_and_options(args.words)
    assert names == ["sed_skip", "own.yaml"]
    assert options == ["SOLVER.MAX_ITER", "3", "INPUT.X", "-1"]
    assert tool.launch_options(args) == ["--num-gpus", "0"]


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "no claim is named; --list shows them"),
        (["SOLVER.MAX_ITER", "3"], "no claim is named"),
        (["sed_skip", "SEED"], "'SEED' has no value; write KEY VALUE pairs after the claims"),
        (["sed_skp"], "no claim or paper 'sed_skp'; the nearest is 'sed_skip'"),
        (["sed_skip", "--seeds", "0,x"], "argument --seeds: got x, expected a whole number"),
        (["sed_skip", "--rows", "wit"], "--rows: no row 'wit', the nearest is 'with'"),
        (["sed_skip", "SOLVER.MAX_ITR", "3"], "the nearest known key is 'SOLVER.MAX_ITER'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(call, tmp_path, words, message):
    status, _, error = call(*words, "--output", str(tmp_path / "out"))
    assert status == 2 and message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_table_of_nothing_says_so_and_a_list_names_every_claim(call, tmp_path):
    out = tmp_path / "out"
    status, text, _ = call("sed_skip", "--only-table", "--seeds", "4,5", "--output", str(out))
    assert status == 0 and "without, seeds 4, 5: not started" in text
    assert (out / "sed_skip" / "table.md").is_file()
    status, text, _ = call("--list")
    names = {path.stem for path in (ROOT / "configs" / "claims").glob("*.yaml")}
    assert status == 0 and names == {line.split()[0] for line in text.splitlines()[2:]}
    status, text, _ = call("sed", "--list")
    listed = [line.split()[0] for line in text.splitlines()[2:]]
    assert status == 0 and listed == ["sed_classes", "sed_rejection", "sed_skip"]
