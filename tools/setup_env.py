"""Installs all that segplugins needs into the environment of the Python that runs this file.

    python tools/setup_env.py            what training and evaluation take
    python tools/setup_env.py --dev      and what lint and tests take
    python tools/setup_env.py --check    says what is missing, installs nothing

Every file from the index must have the hash that requirements*.lock names; --no-hashes leaves that
out, for an index that serves builds of its own.
What works is kept: a torch + torchvision pair that imports, any detectron2 that imports. Where
there is no detectron2, tools/repack_detectron2.py makes one from the copy in the labgym wheel; one
that an older version of it made is replaced.
A second call finds nothing to do and takes a second. Standard library only.
"""

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Sequence

from pip_runner import SetupError, pip, run_pip, say
from repack_detectron2 import VERSION as REPACKED
from repack_detectron2 import repack

ROOT = Path(__file__).resolve().parents[1]
STAMP = Path(sys.prefix) / "segplugins-setup.stamp"
OLDEST_PYTHON = (3, 11)
# The pair must match: torchvision's operators are compiled against one torch.
TORCH_PAIR = {"torch": "2.11.0", "torchvision": "0.26.0"}
# What only torch needs: where a torch is kept, these are kept as they are, or left out (+cpu).
TORCH_FAMILY = ("torch", "torchvision", "triton", "nvidia-", "cuda-")
# Without dependencies: it asks for opencv-python, which would be a second OpenCV in one folder.
LVIS = {"lvis": "0.5.3"}
LABGYM = "labgym==3.1.2"
# The first torch whose AdamW has its fused step on a CPU too.
OLDEST_TORCH = (2, 4)
# Of detectron2 its layers, because a build against another torch shows only there.
PROBES = {
    "torchvision": (
        "import torch, torchvision\n"
        f"if tuple(map(int, torch.__version__.split('.')[:2])) < {OLDEST_TORCH}:\n"
        f"    raise ImportError(f'torch {{torch.__version__}} is older than {OLDEST_TORCH}')"
    ),
    "detectron2": "from detectron2.modeling import build_model",
}
WHEEL_VARIABLE = "SEGPLUGINS_DETECTRON2_WHEEL"
OPENCV = "opencv-python-headless"
OTHER_OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def normal(name: str) -> str:
    """Returns a distribution's name as pip compares it: open_clip_torch is open-clip-torch."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(path: Path) -> Dict[str, str]:
    """Reads lines of the form `name==version`; comments and empty lines are allowed.

    Raises:
        SetupError: a line is something else.
    """
    pins = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        name, equals, version = text.partition("==")
        if text and not (equals and re.fullmatch(r"[\w.-]+", name) and version):
            raise SetupError(f"{path.name}, line {number}: {text!r} is no pin 'name==version'")
        if text:
            pins[normal(name)] = version
    return pins


def read_lock(text: str) -> Dict[str, str]:
    """Returns name to its lines (version, marker, hashes) of a lock file's text.

    A package that differs between Python versions has several entries; they stay together.
    """
    blocks: Dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        if block and not block.startswith("#"):
            name = normal(re.match(r"[\w.-]+", block)[0])
            blocks[name] = f"{blocks.get(name, '')}{block}\n"
    return blocks


def locked(have: Dict[str, str], *, dev: bool, keep_torch: bool) -> str:
    """Returns the part of the lock files that is missing, as a requirements file with hashes.

    Args:
        have: name to version of what is installed. A package that only others need stays as it is.
        dev: also what lint and tests take.
        keep_torch: the torch that is there stays, with all that it brought.
    """
    pins = {**wanted_pins(have, dev=dev), **LVIS}
    names = ["requirements.lock", *(["requirements-dev.lock"] if dev else [])]
    blocks: Dict[str, str] = {}
    for name in names:
        blocks.update(read_lock((ROOT / name).read_text(encoding="utf-8")))
    if not keep_torch:
        pins.update(TORCH_PAIR)
    missing = set(unmet(pins, have)) | {name for name in blocks if name not in have}
    skipped = TORCH_FAMILY if keep_torch else ()
    if any(other in have for other in OTHER_OPENCV):
        skipped = (*skipped, OPENCV)
    return "".join(
        text for name, text in blocks.items() if name in missing and not name.startswith(skipped)
    )


def installed() -> Dict[str, str]:
    """Returns: name to version of every distribution that the running Python sees."""
    importlib.invalidate_caches()
    # Reversed, so that of two the one that Python would import wins.
    distributions = [d for d in metadata.distributions() if d.metadata["Name"]]
    return {normal(d.metadata["Name"]): d.version for d in reversed(distributions)}


def unmet(pins: Dict[str, str], have: Dict[str, str]) -> List[str]:
    """Returns the pinned names that are missing or differ by more than a local label (+cpu)."""
    return [name for name, pin in pins.items() if have.get(name, "").partition("+")[0] != pin]


def wanted_pins(have: Dict[str, str], *, dev: bool) -> Dict[str, str]:
    """Returns the pins of the requirements files, but for OpenCV where another build of it is."""
    pins = read_pins(ROOT / "requirements.txt")
    if dev:
        pins.update(read_pins(ROOT / "requirements-dev.txt"))
    if any(other in have for other in OTHER_OPENCV):
        pins.pop(OPENCV)
    return pins


def project_is_installed() -> bool:
    """Returns whether segplugins is installed editable from this checkout."""
    try:
        text = metadata.distribution("segplugins").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return False
    return text is not None and json.loads(text)["url"] == ROOT.as_uri()


def state_of(have: Dict[str, str]) -> str:
    """Returns a hash of all that a finished set-up rests on: Python, distributions, setup.py."""
    state = [sys.version, sorted(have.items()), (ROOT / "setup.py").read_text(encoding="utf-8")]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def probe(statement: str) -> Optional[str]:
    """Runs a statement in a fresh Python. Returns: None if it works, else the error's last line."""
    # Away from the caller's folder, where a clone named detectron2 would be imported instead.
    run = subprocess.run(
        [sys.executable, "-c", statement], cwd=sys.prefix, capture_output=True, text=True
    )
    if run.returncode == 0:
        return None
    lines = run.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {run.returncode}"


def importable(module: str) -> bool:
    """Returns whether a module can be found; it is not loaded."""
    spec = importlib.util.find_spec(module)
    # A folder that an uninstall left behind, for a cache file in it, has no origin.
    return spec is not None and spec.origin is not None


def why_not(module: str) -> Optional[str]:
    """Returns why a module of PROBES does not work, or None if it does."""
    return probe(PROBES[module]) if importable(module) else "not installed"


def repacked_before(have: Dict[str, str]) -> bool:
    """Returns whether detectron2 is a copy that an older version of this tool made."""
    version = have.get("detectron2", "")
    return version != REPACKED and version.startswith(REPACKED.rpartition(".")[0])


def everything_stands(have: Dict[str, str], *, dev: bool) -> bool:
    """Returns whether a call before left all in place, without importing anything heavy."""
    complete = all(importable(name) for name in (*TORCH_PAIR, "detectron2"))
    if not complete or repacked_before(have) or unmet({**wanted_pins(have, dev=dev), **LVIS}, have):
        return False
    return project_is_installed() and STAMP.is_file() and STAMP.read_text() == state_of(have)


def check_python() -> None:
    """Raises SetupError where this Python is too old or not ours to change."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            f"Python {sys.version.split()[0]} is too old, 3.11 or 3.12 is needed; "
            "for example: make PYTHON=python3.12 quickstart"
        )
    if sys.version_info >= (3, 13):
        say(f"note: Python {sys.version.split()[0]} has not been tested, 3.11 and 3.12 have")
    managed = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    if sys.prefix == sys.base_prefix and managed.exists():
        raise SetupError(
            "this Python belongs to the system; make an environment first: "
            "python3 -m venv .venv && .venv/bin/python tools/setup_env.py"
        )


def installer(use_uv: bool) -> List[str]:
    """Returns the command before the names of what to install from the index."""
    if not use_uv:
        # Byte code is written when a module is first imported; doing it for all takes longer.
        return pip("install", "--progress-bar=off", "--no-compile")
    if shutil.which("uv") is None:
        raise SetupError("--uv: there is no uv on the PATH; install it or leave the flag out")
    return ["uv", "pip", "install", "--python", sys.executable]


def as_arguments(pins: Dict[str, str]) -> List[str]:
    """Returns {"numpy": "2.3.4"} as ["numpy==2.3.4"]."""
    return [f"{name}=={version}" for name, version in pins.items()]


def install_requirements(
    have: Dict[str, str], *, dev: bool, use_uv: bool, hashes: bool = True
) -> None:
    """Installs the pins, and the torch pair unless one that imports is there.

    Args:
        have: name to version of what is installed.
        dev: also what lint and tests take.
        use_uv: download with uv instead of pip.
        hashes: take only files whose hash the lock files name, and no package besides.
    """
    pins = {**wanted_pins(have, dev=dev), **LVIS} if hashes else wanted_pins(have, dev=dev)
    broken = why_not("torchvision")
    if broken is None:
        say(f"torch {have.get('torch')} with torchvision {have.get('torchvision')} works, kept")
    else:
        say(f"torchvision: {broken}; installing {' and '.join(as_arguments(TORCH_PAIR))}")
        pins.update(TORCH_PAIR)
    if missing := unmet(pins, have):
        size = ", a download of 3 GB" if "torch" in missing else ""
        doing = f"installing {len(missing)} packages and what they need{size}"
        if hashes:
            install_locked(
                locked(have, dev=dev, keep_torch=broken is None), use_uv=use_uv, doing=doing
            )
        else:
            run_pip([*installer(use_uv), *as_arguments(pins)], doing=doing)
    if broken is not None and (still := why_not("torchvision")) is not None:
        raise SetupError(f"torchvision was installed and does not import: {still}")


def install_locked(text: str, *, use_uv: bool, doing: str) -> None:
    """Installs the packages of a requirements file with hashes, and none besides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.lock"
        path.write_text(text, encoding="utf-8")
        options = ["--no-deps", "--require-hashes", "--requirement", str(path)]
        run_pip([*installer(use_uv), *options], doing=doing)


def detectron2_wheel(given: Optional[Path], folder: Path) -> Path:
    """Returns a wheel of detectron2: the user's, or one repacked in `folder`.

    Args:
        given: a wheel of detectron2 or of labgym; None = labgym from the package index.
        folder: for what is downloaded and made.

    Raises:
        SetupError, ValueError: no such file, a wheel of something else, or another hash.
    """
    if given is None:
        # LabGym caps its Python below ours; only its files are wanted, never its requirements.
        command = pip("download", "--no-deps", "--ignore-requires-python", "--dest", str(folder))
        run_pip([*command, LABGYM], doing=f"detectron2: repacking the copy in {LABGYM}")
        given = next(folder.glob("labgym-*.whl"))
    elif not given.is_file():
        raise SetupError(f"no file {given}; give a wheel of detectron2 or {LABGYM}")
    if given.name.startswith("labgym-"):
        return repack(given, folder)
    if not given.name.startswith("detectron2-"):
        raise SetupError(f"{given.name} is no wheel of detectron2 or {LABGYM}, by its name")
    return given


def install_without_dependencies(have: Dict[str, str], wheel: Optional[Path]) -> None:
    """Installs lvis and detectron2 where they are missing, and the project as it stands now."""
    names = as_arguments(LVIS) if unmet(LVIS, have) else []
    with tempfile.TemporaryDirectory() as folder:
        if not importable("detectron2") or repacked_before(have):
            names.append(str(detectron2_wheel(wheel, Path(folder))))
        elif wheel is not None:
            say(f"detectron2 {have.get('detectron2', '')} is there and kept, {wheel.name} unused")
        doing = f"installing {', '.join([*(Path(name).name for name in names), 'segplugins'])}"
        # The project always: what setup.py says may have changed since the last time.
        names += ["--no-build-isolation", "--editable", str(ROOT)]
        run_pip(pip("install", "--no-deps", "--no-compile", *names), doing=doing)
    add_checkout(Path(sysconfig.get_path("purelib")))


def add_checkout(packages: Path, checkout: Path = ROOT) -> None:
    """Adds the checkout to the folders in which Python looks for modules.

    The editable install alone would not do for a script beside the clone: its folder holds one
    called segplugins, the clone, which passes for a package without code and hides the library.
    A package with code wins over it from anywhere on the path.

    Args:
        packages: folder of installed packages; a .pth file is written there.
        checkout: folder of the clone.
    """
    (packages / "segplugins_checkout.pth").write_text(f"{checkout}\n", encoding="utf-8")


def check_detectron2() -> None:
    """Raises SetupError where there is a detectron2 that does not import: it is the user's."""
    if (broken := why_not("detectron2")) is not None:
        raise SetupError(
            f"detectron2 is installed and does not import: {broken}. Repair it, or "
            "`pip uninstall detectron2` and run this again for a copy that needs no compiler"
        )


def set_up(*, dev: bool, use_uv: bool, wheel: Optional[Path], hashes: bool = True) -> None:
    """Brings the environment to where everything imports; does nothing where it does."""
    start = time.monotonic()
    check_python()
    have = installed()
    if everything_stands(have, dev=dev):
        say(f"environment stands: {sys.prefix}")
        return
    install_requirements(have, dev=dev, use_uv=use_uv, hashes=hashes)
    install_without_dependencies(installed(), wheel)
    check_detectron2()
    STAMP.write_text(state_of(installed()))
    say(f"environment ready after {time.monotonic() - start:.0f} s: {sys.prefix}")


def findings(have: Dict[str, str], *, dev: bool) -> Iterable[str]:
    """Yields one line per fault of the environment; differing versions are no faults."""
    pins = {**wanted_pins(have, dev=dev), **LVIS}
    missing = [name for name in pins if name not in have]
    if missing:
        yield f"missing: {', '.join(missing)}"
    for module in PROBES:
        if (broken := why_not(module)) is not None:
            yield f"{module}: {broken}"
    opencv = [name for name in (OPENCV, *OTHER_OPENCV) if name in have]
    if len(opencv) > 1:
        yield f"{' and '.join(opencv)} share one folder: uninstall all, then install one again"
    if not project_is_installed():
        yield "segplugins is not installed from this checkout"


def check(*, dev: bool, show: Callable[[str], None] = say) -> int:
    """Shows what is there and what is missing. Returns: the number of faults."""
    have = installed()
    names = (*TORCH_PAIR, "detectron2", "numpy", "segplugins")
    show(", ".join([f"Python {sys.version.split()[0]}", *(f"{n} {have.get(n)}" for n in names)]))
    for name in unmet(wanted_pins(have, dev=dev), have):
        if name in have:
            show(f"note: {name} {have[name]}, tried with {wanted_pins(have, dev=dev)[name]}")
    faults = list(findings(have, dev=dev))
    for fault in faults:
        show(f"fault: {fault}")
    show("all there" if not faults else "run this without --check to put it right")
    return len(faults)


def parse(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dev", action="store_true", help="also what lint and tests need")
    parser.add_argument("--uv", action="store_true", help="download with uv: faster, own settings")
    parser.add_argument(
        "--no-hashes",
        action="store_true",
        help="take files of other hashes too: for an index that serves builds of its own",
    )
    parser.add_argument(
        "--detectron2-wheel",
        type=Path,
        metavar="PATH",
        default=os.environ.get(WHEEL_VARIABLE) or None,
        help=f"a saved wheel of detectron2 or {LABGYM}; also by ${WHEEL_VARIABLE}",
    )
    parser.add_argument("--check", action="store_true", help="look only; exit 1 if a part misses")
    return parser.parse_args(arguments)


def main() -> None:
    """Sets the environment up, or checks it."""
    args = parse()
    try:
        if args.check:
            sys.exit(1 if check(dev=args.dev) else 0)
        set_up(
            dev=args.dev,
            use_uv=args.uv,
            wheel=args.detectron2_wheel,
            hashes=not args.no_hashes,
        )
    except (SetupError, ValueError, OSError, zipfile.BadZipFile) as error:
        sys.exit(f"setup_env: {error}")


if __name__ == "__main__":
    main()
