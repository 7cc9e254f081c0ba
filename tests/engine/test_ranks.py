import pytest

from segplugins.engine import ConfigError, argument_parser, launch
from segplugins.engine.ranks import RankError


def launched(main, *words):
    launch(main, argument_parser("").parse_args(list(words)))


@pytest.fixture(autouse=True)
def keep_environment(monkeypatch):
    """What launch sets for its processes goes away again."""
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_one_process_runs_here():
    seen = []
    launched(lambda args: seen.append(args.num_gpus), "--num-gpus", "0")
    assert seen == [0]


@pytest.mark.parametrize(
    "words, message",
    [
        ("--num-gpus 99", r"--num-gpus 99, but \d+ CUDA devices are visible"),
        ("--num-gpus 0 --num-machines 2", "--num-machines above 1 needs --dist"),
        ("--num-gpus -1", "--num-gpus is -1, expected 0 or more"),
        ("--num-gpus 0 --num-processes 0", "--num-processes is 0, expected 1 or more"),
        ("--num-gpus 0 --machine-rank 1", r"--machine-rank is 1, expected 0 to 0 \(--num-m"),
    ],
)
def test_what_cannot_be_launched_is_an_error(words, message):
    with pytest.raises(ConfigError, match=message):
        launched(lambda args: None, *words.split())


def fail(args):
    raise ValueError(f"no such thing as {args.opts[0]}")


def test_an_error_of_a_rank_comes_back_as_one_line():
    with pytest.raises(RankError, match="^no such thing as phlogiston$"):
        launched(fail, "--num-gpus", "0", "--num-processes", "2", "phlogiston", "1")
