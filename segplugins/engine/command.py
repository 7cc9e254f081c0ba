"""What all command-line tools share: the parser, errors in one line, Ctrl-C. Imports no torch."""

import argparse
import ast
import builtins
import errno
import io
import os
import re
import signal
import sys
import traceback
import warnings
from types import FrameType
from typing import Callable, List, NoReturn, Optional, Sequence, TextIO, Tuple

USER_ERROR = 2  # exit status, as argparse has it
_USER_ERRORS = (ValueError, OSError, FloatingPointError, ImportError)

# How the warning begins of what nobody who runs a tool can change.
_SCRIPTING = "`torch.jit.script`"

# How torch words an error of a loader's worker, and where its message begins behind the traceback.
_OF_A_WORKER = re.compile(r"Caught (\w+) in ")
_MESSAGE = re.compile(r"^([A-Za-z_][\w.]*): (.*)\Z", re.MULTILINE | re.DOTALL)

_DEVICE = (
    "device: a GPU where there is one; MODEL.DEVICE cpu, cuda or cuda:1 among the KEY VALUE pairs "
    "chooses"
)


class Stopped(KeyboardInterrupt):
    """A signal has ended the work; what is kept and how to go on is its text."""

    def __init__(self, text: str = "", number: int = signal.SIGINT):
        super().__init__(text)
        self.number = number


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all errors of the tools."""

    _words: Sequence[str] = ()

    def parse_known_args(  # of argparse
        self, args: Optional[Sequence[str]] = None, namespace: Optional[argparse.Namespace] = None
    ) -> Tuple[argparse.Namespace, List[str]]:
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        given = {word.partition("=")[0] for word in self._words if word.startswith("--")}
        missing = re.findall(r"--[\w-]+", message) if "are required" in message else []
        late = [option for option in missing if option in given]
        if late:  # argparse gives all that follows the first KEY to the pairs
            message = f"{', '.join(late)} stands behind a KEY VALUE pair; all options go first"
        self.exit(USER_ERROR, f"error: {message}; --help shows what {self.prog} takes\n")


def whole_number(least: int) -> Callable[[str], int]:
    """Returns the type of an option that takes whole numbers from `least` on."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"got {text}, expected a whole number from {least} on")
        return value

    return read


def share(text: str) -> float:
    """Returns the number from 0 to 1 that an option was given."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 0 to 1")
    return value


def command_parser(doc: str) -> argparse.ArgumentParser:
    """Returns a parser with --debug, which `run_command` reads.

    Args:
        doc: docstring of the tool: what it does, then examples. It is shown as it is written.
    """
    parser = _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--debug", action="store_true", help="show where an error came from (a traceback)"
    )
    return parser


def add_config_arguments(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Adds --config-file and the KEY VALUE pairs that end a command line.

    Args:
        parser: changed in place. Add these last: the pairs take everything that follows.
        required: whether the tool needs a config file.
    """
    parser.add_argument(
        "--config-file",
        default="",
        required=required,
        metavar="FILE",
        help="YAML file of config keys, such as configs/sed/quickstart.yaml",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help=f"config keys to change, last on the line: MODEL.WEIGHTS model.pth; {_DEVICE}",
    )


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Returns the parser of training and evaluation: detectron2's options and our own.

    Args:
        description: docstring of the tool.
    """
    parser = command_parser(description)
    add = parser.add_argument
    add("--resume", action="store_true", help="go on with the run in OUTPUT_DIR if there is one")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS instead of training")
    add(
        "--random-weights",
        action="store_true",
        help="evaluate a model whose weights are missing or fit only in part: to see that it runs",
    )
    add(
        "--num-gpus",
        type=int,
        metavar="N",
        help="GPUs per machine, one process each; 0 = CPU (default: 1 where there is one, else 0)",
    )
    add(
        "--num-processes",
        type=int,
        default=1,
        metavar="N",
        help="processes per machine on CPUs, with --num-gpus 0 (default: %(default)s)",
    )
    add("--num-machines", type=int, default=1, metavar="N", help="machines (default: %(default)s)")
    add(
        "--machine-rank",
        type=int,
        default=0,
        metavar="I",
        help="number of this machine, from 0 (default: %(default)s)",
    )
    add(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="tcp://ADDRESS:PORT of machine 0, the same on all machines; auto = a free port here "
        "(default: %(default)s)",
    )
    add_config_arguments(parser)
    return parser


def run_command(
    main: Callable[[argparse.Namespace], Optional[int]],
    parser: argparse.ArgumentParser,
    *,
    kept: str = "",
    argv: Optional[Sequence[str]] = None,
) -> NoReturn:
    """Runs a tool and ends the process: an error of the user is one line and exit status 2.

    ValueError, OSError, FloatingPointError, ImportError, and KeyError with a sentence are errors of
    the user; with --debug they have a traceback. Any other exception is a fault of the program and
    always has one. SIGTERM is treated like Ctrl-C.

    Args:
        main: takes the parsed arguments and returns an exit status; None = 0.
        parser: of `command_parser` or `argument_parser`.
        kept: what to say at Ctrl-C: what is kept and how to go on. `Stopped` has its own text.
        argv: the command line; None = that of this process.
    """
    _open_streams()
    args = parser.parse_args(argv)
    _hide_warning_of_imports()
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        status = main(args) or 0
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        _say(f"stopped: {str(stop) or kept or 'nothing was left half-written'}", args.debug)
        status = 128 + getattr(stop, "number", signal.SIGINT)
    except BrokenPipeError:  # the reader of our output, such as `head`, has enough
        _discard(sys.stdout)
        status = 128 + signal.SIGPIPE
    except SystemExit as end:
        if isinstance(end.code, str):
            _say(end.code, args.debug)
        status = USER_ERROR if isinstance(end.code, str) else end.code or 0
    except Exception as error:
        if not is_user_error(error):
            raise
        _say(f"error: {error_line(error)}", args.debug)
        status = USER_ERROR
        _end_output()
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(status)


def _open_streams() -> None:
    """Gives the process the standard streams it lacks, and lets them print any character."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            if not _is_open(number):
                # Or the next file that is opened gets this number, and what libraries print.
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, io.open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, UP020
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _hide_warning_of_imports() -> None:
    """Hides what fvcore, which scripts its losses, tells whoever imports it with a new torch."""
    warnings.filterwarnings("ignore", _SCRIPTING, FutureWarning)
    option = f"ignore:{_SCRIPTING}:FutureWarning"
    if option not in sys.warnoptions:
        sys.warnoptions.append(option)  # which processes that this one starts are given


def is_user_error(error: BaseException) -> bool:
    """Returns whether an error is one that a user can put right, by its type."""
    if isinstance(error, KeyError):  # `{}["name"]` of a fault in the program holds no sentence
        return " " in error_line(error)
    if isinstance(error, RuntimeError):  # torch's word for a worker's error that it cannot rebuild
        worker = _OF_A_WORKER.match(str(error))
        kind = getattr(builtins, worker[1], None) if worker else None
        return isinstance(kind, type) and issubclass(kind, _USER_ERRORS)
    return isinstance(error, _USER_ERRORS)


def error_line(error: BaseException) -> str:
    """Returns the text of an error in one line, without the traceback of a worker process."""
    if isinstance(error, ModuleNotFoundError) and "." not in (error.name or "."):
        return (
            f"{error}: {sys.executable} lacks a package that segplugins needs; activate the "
            "environment (source .venv/bin/activate), or fill this one with tools/setup_env.py"
        )
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"'{error.filename}': {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space is left where the output goes; make room, or choose another place"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if _OF_A_WORKER.match(text):
        message = _MESSAGE.search(text.rpartition("Traceback (most recent call last):\n")[2])
        text = message[2] if message else text
        if message and message[1] == "KeyError":  # whose text is a Python literal
            text = ast.literal_eval(text.strip())
    return " ".join(text.split()) or type(error).__name__


def _on_sigterm(number: int, frame: Optional[FrameType]) -> NoReturn:
    raise Stopped(number=signal.SIGTERM)


def _say(line: str, debug: bool) -> None:
    try:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:  # there is nobody to tell it to, such as on a full disk; the status stays
        _discard(sys.stderr)


def _end_output() -> None:
    """Writes what is still to be printed, or gives it up; Python would fail over it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    """Leads a stream that cannot be written to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
