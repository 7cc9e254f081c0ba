"""--help of every tool: quick, because it imports nothing heavy, and of use to a reader."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# pip_runner is a part of setup_env.
TOOLS = sorted(p.name for p in (ROOT / "tools").glob("*.py") if p.name != "pip_runner.py")
HEAVY = ("torch", "numpy", "detectron2", "cv2", "open_clip", "PIL", "matplotlib", "scipy")
CODE = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", *(name for name in {heavy} if name in sys.modules))
"""


@pytest.fixture(scope="module")
def help_of():
    """Returns a call that gives the text of --help, without importing torch or its like."""
    texts = {}

    def call(tool):
        if tool not in texts:
            done = subprocess.run(
                [sys.executable, "-c", CODE.format(heavy=HEAVY), f"tools/{tool}"],
                cwd=ROOT,
                env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}", "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            texts[tool] = done.stdout
        return texts[tool]

    return call


@pytest.mark.parametrize("tool", TOOLS)
def test_help_imports_nothing_heavy(help_of, tool):
    assert help_of(tool).splitlines()[-1].strip() == "imported:"


@pytest.mark.parametrize("tool", TOOLS)
def test_help_has_an_example(help_of, tool):
    assert f"\n    python tools/{tool}" in help_of(tool)
