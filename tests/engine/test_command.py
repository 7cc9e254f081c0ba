import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from torch._utils import ExceptionWrapper

from segplugins.engine.command import (
    Stopped,
    add_config_arguments,
    argument_parser,
    command_parser,
    error_line,
    is_user_error,
    run_command,
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_line_is_that_of_detectron2():
    words = "--config-file a.yaml --num-gpus 2 --num-machines 3 --machine-rank 1 --resume"
    args = argument_parser("says what it does").parse_args(
        [*words.split(), "--dist-url", "tcp://b:1", "SOLVER.MAX_ITER", "5"]
    )
    assert (args.config_file, args.num_gpus, args.num_machines) == ("a.yaml", 2, 3)
    assert (args.machine_rank, args.resume, args.eval_only) == (1, True, False)
    assert args.opts == ["SOLVER.MAX_ITER", "5"]


def ended(main, *words, **options):
    parser = command_parser("does it")
    add_config_arguments(parser)
    with pytest.raises(SystemExit) as end:
        run_command(main, parser, argv=list(words), **options)
    return end.value.code


def raising(error):
    def main(args):
        raise error

    return main


@pytest.mark.parametrize(
    "error, status, line",
    [
        (ValueError("got 3,\n  expected 2"), 2, "error: got 3, expected 2\n"),
        (KeyError("no data set 'x'; the nearest is 'y'"), 2, "error: no data set 'x'; the near"),
        (FileNotFoundError(2, "No such file or directory", "a.pth"), 2, "error: 'a.pth': No such"),
        (FileNotFoundError("no checkpoint 'a.pth'"), 2, "error: no checkpoint 'a.pth'\n"),
        (FloatingPointError("not finite"), 2, "error: not finite\n"),
        (ValueError(), 2, "error: ValueError\n"),
        (SystemExit("error: name a set"), 2, "error: name a set\n"),
        (SystemExit(1), 1, ""),
        (KeyboardInterrupt(), 130, "stopped: the pictures in out/ are kept\n"),
        (Stopped("saved", 15), 143, "stopped: saved\n"),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line(capfd, error, status, line):
    assert ended(raising(error), kept="the pictures in out/ are kept") == status
    assert capfd.readouterr().err.startswith(line)


def test_the_status_of_the_tool_is_that_of_the_process():
    assert ended(lambda args: None) == 0
    assert ended(lambda args: 1) == 1


def test_a_traceback_is_shown_only_when_asked_for(capfd):
    assert ended(raising(ValueError("wrong")), "--debug") == 2
    shown = capfd.readouterr().err
    assert shown.startswith("Traceback") and shown.endswith("\nerror: wrong\n")


@pytest.mark.parametrize("error", [KeyError("width"), TypeError("a"), RuntimeError("cuDNN")])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run_command(raising(error), command_parser(""), argv=[])


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("a.png: 3 channels: expected 1"), "a.png: 3 channels: expected 1"),
        (KeyError("no vocabulary 'x'"), "no vocabulary 'x'"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_an_error_of_a_loaders_worker_is_one_line_too(error, line):
    try:
        raise error
    except Exception:
        brought = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(Exception) as caught:
        brought.reraise()
    assert is_user_error(caught.value)
    assert error_line(caught.value).startswith(line)


def test_help_does_not_wait_for_torch_and_says_how_to_choose_a_device():
    for tool in ("train_net", "eval", "convert_checkpoint"):
        shown = subprocess.run(
            [sys.executable, "-X", "importtime", f"tools/{tool}.py", "--help"],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert " torch\n" not in shown.stderr and "detectron2.engine" not in shown.stderr, tool
        assert f"python tools/{tool}.py" in shown.stdout and "--debug" in shown.stdout
        assert tool == "convert_checkpoint" or "MODEL.DEVICE cpu" in shown.stdout


def test_only_the_warning_that_no_user_can_mend_is_hidden(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])

    def main(args):
        for name in ("`torch.jit.script`", "something else"):
            warnings.warn(f"{name} is deprecated", FutureWarning, stacklevel=2)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for _ in range(2):
            with pytest.raises(SystemExit):
                run_command(main, command_parser(""), argv=[])
    assert {str(warning.message) for warning in shown} == {"something else is deprecated"}
    assert sys.warnoptions == ["ignore:`torch.jit.script`:FutureWarning"]
    code = "import warnings; warnings.warn('`torch.jit.script` is deprecated', FutureWarning)"
    started = [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", code]
    assert subprocess.run(started, capture_output=True, text=True).stderr == ""


def test_sigterm_ends_a_tool_like_ctrl_c(tmp_path):
    tool = tmp_path / "tool.py"
    tool.write_text(
        "import json, os, signal, time\n"
        "from segplugins.engine.command import command_parser, run_command\n"
        "def main(args):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(20)\n"
        "run_command(main, command_parser(''), kept='all of it')\n"
    )
    done = subprocess.run([sys.executable, tool], capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stderr) == (143, "stopped: all of it\n")


def test_a_reader_that_has_enough_is_no_error():
    code = (
        "from segplugins.engine.command import command_parser, run_command\n"
        "run_command(lambda args: [print(n) for n in range(10**5)] and None, command_parser(''))"
    )
    done = subprocess.run(
        f"{sys.executable} -c {shlex.quote(code)} | head -1",
        shell=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize(
    "words, line",
    [
        (
            "A.B 1 --name x",
            "error: --name stands behind a KEY VALUE pair; all options go first",
        ),
        ("A.B 1 --name=x --size 2", "error: --name, --size stands behind a KEY VALUE pair"),
        ("A.B 1 --size 2", "error: --size stands behind a KEY VALUE pair"),
        ("--size 2", "error: the following arguments are required: --name; --help shows"),
    ],
)
def test_an_option_behind_the_pairs_is_told_as_such(capsys, words, line):
    parser = command_parser("does it")
    for option in ("--name", "--size"):
        parser.add_argument(option, required=True)
    add_config_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words.split())
    assert capsys.readouterr().err.startswith(line)


STUB = """
import sys
from segplugins.engine.command import command_parser, run_command
parser = command_parser("does it")
parser.add_argument("--fails", action="store_true")

def main(args):
    if args.fails:
        raise ValueError("no \u0434\u043e\u043c")
    print("\u0434\u043e\u043c")
    with open("kept.txt", "w") as file:
        sys.stdout.flush()
        print(file.fileno() > 2, file=file)

run_command(main, parser)
"""


@pytest.mark.parametrize(
    "shell, status, printed",
    [
        ("$0 stub.py <&- >&- 2>&-", 0, ""),
        ("$0 stub.py --fails 2>/dev/full", 2, ""),
        ("$0 stub.py >/dev/full", 2, "error: no space is left where the output goes"),
        ("PYTHONIOENCODING=ascii $0 stub.py", 0, r"\u0434\u043e\u043c"),
    ],
)
def test_streams_that_are_closed_full_or_of_few_letters(tmp_path, shell, status, printed):
    (tmp_path / "stub.py").write_text(STUB)
    command = ["bash", "-c", shell, sys.executable]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status, done.stderr
    assert (done.stdout + done.stderr).startswith(printed)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if status == 0:
        assert (tmp_path / "kept.txt").read_text() == "True\n"
