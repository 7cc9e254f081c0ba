"""Imported first by every tool: ends in one line where the running Python has no segplugins.

Standard library only, and readable by old Pythons: what is missing may be anything.
"""

import os
import sys

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


def main():
    """Ends the process with one line and status 2 unless segplugins can be imported."""
    reason = fault()
    if reason is not None:
        line = "error: {} cannot run this tool: {}. Activate the environment: {}\n"
        sys.stderr.write(line.format(sys.executable or "this Python", reason, next_step()))
        sys.exit(2)


main()
