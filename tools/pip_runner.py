"""Runs pip so that people see what it does: a few lines of progress, one line when it fails.

Used by tools/setup_env.py. Standard library only: this runs before anything is installed.
"""

import importlib.util
import os
import re
import subprocess
import sys
from typing import List, Optional, Sequence

SHOW_FROM_MB = 50  # smaller downloads pass unmentioned

_DOWNLOAD = re.compile(
    r"(?:Downloading|Using cached) (\S+?)-\d\S*\.(?:whl|tar\.gz) \(([\d.]+) MB\)"
)
_OTHER_FILE = (
    "a file of the index is not the one that was tested: its hash is not in requirements*.lock; "
    "clear the cache and try again, or take what your index serves with --no-hashes"
)
_CAUSES = {
    "No space left on device": "the disk is full; the environment takes about 6 GB",
    "DO NOT MATCH THE HASHES": _OTHER_FILE,  # pip's words
    "Hash mismatch": _OTHER_FILE,  # uv's
    "externally-managed-environment": "this Python belongs to the system; use an environment",
}
_NO_NETWORK = ("connection broken by", "Max retries exceeded", "error: Failed to fetch")


class SetupError(RuntimeError):
    """Something the user has to see to, told in one line."""


def say(line: str) -> None:
    """Prints a line of the progress at once."""
    print(line, flush=True)


def pip(*arguments: str) -> List[str]:
    """Returns the command that calls this environment's pip, which is made if there is none.

    Raises:
        SetupError: there is no pip and Python cannot make it.
    """
    if importlib.util.find_spec("pip") is None:
        made = subprocess.run([sys.executable, "-m", "ensurepip"], capture_output=True)
        if made.returncode != 0:
            raise SetupError("this environment has no pip (Debian: apt install python3-venv)")
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]


def run_pip(command: Sequence[str], *, doing: str) -> None:
    """Runs an installer and shows its progress in a few lines.

    Args:
        command: from `pip`, or another that prints what pip prints.
        doing: the first line shown.

    Raises:
        SetupError: it failed; the message says why.
    """
    say(doing)
    output = []
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout:
            output.append(line)
            if (shown := progress(line)) is not None:
                say(shown)
    if process.returncode != 0:
        raise SetupError(f"{doing}: failed: {explain(''.join(output))}")


def progress(line: str) -> Optional[str]:
    """Returns what to show of a line of pip's output: a large download, the last step, or None."""
    if match := _DOWNLOAD.search(line):
        size = float(match[2])
        return f"  {match[1]}, {size:.0f} MB" if size >= SHOW_FROM_MB else None
    if line.startswith("Installing collected packages:"):
        count = line.count(",") + 1
        return f"  unpacking {count} packages{', about a minute' if count > 20 else ''}"
    return None


def explain(output: str) -> str:
    """Returns one line that says why pip failed, from all that it printed."""
    for sign, cause in _CAUSES.items():
        if sign in output:
            return cause
    if any(sign in output for sign in _NO_NETWORK):
        return "the package index cannot be reached; check the network and pip's or uv's settings"
    errors = [line[7:] for line in output.splitlines() if line.lower().startswith("error: ")]
    last = output.strip().splitlines()[-1:]
    return (errors or last or ["no message"])[0]
