"""Writes the lock files: every package that is installed, with the hashes of its files, by uv.

    python tools/lock_requirements.py            after a pin of requirements*.txt has changed

requirements.lock holds what training and evaluation take, requirements-dev.lock what lint and tests
take on top. tools/setup_env.py installs from both and takes no file with another hash. It asks the
package index; uv must be on the PATH (pip install uv). Standard library only.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Sequence

from pip_runner import SetupError, say
from setup_env import LVIS, ROOT, TORCH_PAIR, as_arguments, read_lock, read_pins

_OPTIONS = (
    "--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header",
    "--quiet",
)  # fmt: skip
# lvis asks for it, and it would be a second OpenCV in one folder.
_UNWANTED = "opencv-python"
_NEVER = f"{_UNWANTED} ; sys_platform == 'never'\n"
_HEADER = (
    "# Made by tools/lock_requirements.py, not by hand; tools/setup_env.py installs from it.\n"
)


def compiled(pins: Dict[str, str], folder: Path, *, constraints: str = "") -> str:
    """Returns the pins and all that they need, with hashes, as uv finds them in the index.

    Args:
        pins: name to version.
        folder: for what uv reads.
        constraints: a lock whose versions hold where both name a package.

    Raises:
        SetupError: there is no uv, or it cannot resolve the pins.
    """
    if shutil.which("uv") is None:
        raise SetupError("there is no uv on the PATH; pip install uv, or see its own page")
    texts = {
        "pins.txt": "\n".join(as_arguments(pins)),
        "never.txt": _NEVER,
        "constraints.txt": constraints,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = ["uv", "pip", "compile", *_OPTIONS, "--override", "never.txt", "-c"]
    run = subprocess.run(
        [*command, "constraints.txt", "pins.txt"], cwd=folder, capture_output=True, text=True
    )
    if run.returncode != 0:
        raise SetupError(f"uv: {' '.join(run.stderr.split())}")
    return "".join(text for name, text in read_lock(run.stdout).items() if name != _UNWANTED)


def without(lock: str, other: str) -> str:
    """Returns the packages of a lock that another one does not hold."""
    held = read_lock(other)
    return "".join(text for name, text in read_lock(lock).items() if name not in held)


def main(arguments: Sequence[str]) -> None:
    """Writes both files."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        pins = {**read_pins(ROOT / "requirements.txt"), **TORCH_PAIR, **LVIS}
        lock = compiled(pins, Path(folder))
        dev = compiled(read_pins(ROOT / "requirements-dev.txt"), Path(folder), constraints=lock)
    for name, text in (("requirements.lock", lock), ("requirements-dev.lock", without(dev, lock))):
        (ROOT / name).write_text(_HEADER + text, encoding="utf-8")
        say(f"{name}: {len(read_lock(text))} packages")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (SetupError, OSError) as error:
        sys.exit(f"lock_requirements: {error}")
