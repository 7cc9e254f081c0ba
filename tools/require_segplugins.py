"""Imported first by every tool: a Python without segplugins gives way to that of the checkout.

Where the checkout has no environment either, --help is shown all the same, for which the standard
library is enough, and anything else ends in one line. So it does under `python -S`, which asks for
this Python and nothing else.

Standard library only, and readable by old Pythons: what is missing may be anything.
"""

import os
import sys
import types

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
OLDEST_PYTHON = (3, 11)


def next_step(root=ROOT):
    """Returns what to type: activate the environment of the checkout, or make it first."""
    activate = os.path.join(root, ".venv", "bin", "activate")
    if os.path.isfile(activate):
        return "source " + os.path.relpath(activate) if _is_here(root) else "source " + activate
    return "make -C " + root + " env && source " + activate


def fault():
    """Returns why this Python cannot run the tools, or None where it can."""
    if sys.version_info < OLDEST_PYTHON:
        return "it is Python {}.{}, 3.11 or newer is needed".format(*sys.version_info)
    try:
        import segplugins
    except ImportError as error:
        return " ".join(str(error).split())
    # A folder of that name without code, such as the clone itself seen from beside it.
    if getattr(segplugins, "__version__", None) is None:
        return "'segplugins' is a folder without code here: {}".format(*segplugins.__path__)
    return None


def _is_here(root):
    return os.path.realpath(os.getcwd()) == root


def other_python(root=ROOT):
    """Returns the Python of the checkout's environment, or None: there is none, or it runs now.

    It runs by its prefix, or by its own path where it is a mere link and makes no environment.
    """
    home = os.path.join(root, ".venv")
    python = os.path.join(home, "bin", "python")
    is_running = os.path.realpath(sys.prefix) == os.path.realpath(home) or sys.executable == python
    return None if is_running or sys.flags.no_site or not os.access(python, os.X_OK) else python


def open_parsers():
    """Makes the modules of the checkout importable without their package asking for detectron2.

    What parses a command line needs the standard library alone; it shows --help and ends.
    """
    package = types.ModuleType("segplugins")
    package.__path__ = [os.path.join(ROOT, "segplugins")]
    sys.modules["segplugins"] = package


def main():
    """Goes on in the checkout's environment, or ends in one line with status 2.

    It returns if segplugins can be imported, or --help is all that is asked for.
    """
    reason = fault()
    if reason is not None:
        python = other_python()
        if python is not None:
            os.execv(python, [python] + sys.argv)
        if sys.version_info >= OLDEST_PYTHON and sys.argv[1:] in (["--help"], ["-h"]):
            open_parsers()
            return
        line = "error: {} cannot run this tool: {}. Activate the environment: {}\n"
        sys.stderr.write(line.format(sys.executable or "this Python", reason, next_step()))
        sys.exit(2)


main()
