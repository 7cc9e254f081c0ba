"""Makes a wheel named detectron2 from the copy of it inside the labgym wheel.

    python tools/repack_detectron2.py labgym-3.1.2-py3-none-any.whl --out .

No package index holds detectron2 itself. LabGym's wheel carries upstream's commit b7ff9466
(2024-01-26, Apache-2.0) with every import rewritten to `LabGym.detectron2`; all but the C++/CUDA
sources is there. Undoing the rewriting gives back upstream's files byte for byte. A few lines are
then changed, so that they run without a warning on today's Python, numpy, torch and setuptools.
Standard library only: this runs before anything is installed.
"""

import argparse
import base64
import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Dict, NamedTuple, Sequence

LABGYM_SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"
VERSION = "0.6+b7ff946.1"  # the last number counts what FIXES has been
_FOLDER = "LabGym/detectron2/"
_REWRITTEN = b"LabGym.detectron2"
# A fixed time stamp makes the same wheel of the same input, whenever it is made.
_TIME = (2024, 1, 26, 0, 0, 0)


class Fix(NamedTuple):
    """One replacement of a text that must stand in the file exactly once."""

    file: str
    old: bytes
    new: bytes


FIXES = (
    # A mapper that skips a sample: random.sample takes no set since Python 3.11.
    Fix(
        "detectron2/data/common.py",
        b"self._rng.sample(self._fallback_candidates, k=1)",
        b"self._rng.sample(list(self._fallback_candidates), k=1)",
    ),
    # numpy 2 reads copy=False as "never copy" and raises; every SemSegEvaluator run died of it.
    Fix(
        "detectron2/evaluation/sem_seg_evaluation.py",
        b"np.array(Image.open(f), copy=copy, dtype=dtype)",
        b"np.asarray(Image.open(f), dtype=dtype)",
    ),
    Fix(
        "detectron2/layers/mask_ops.py",
        b"mask = np.array(mask, copy=False)",
        b"mask = np.asarray(mask)",
    ),
    # setuptools has no pkg_resources since 82. The files lie beside the module.
    Fix(
        "detectron2/model_zoo/model_zoo.py",
        b"import pkg_resources\nimport torch\n",
        b"import torch\n",
    ),
    Fix(
        "detectron2/model_zoo/model_zoo.py",
        b"cfg_file = pkg_resources.resource_filename(\n"
        b'        "detectron2.model_zoo", os.path.join("configs", config_path)\n'
        b"    )\n",
        b'cfg_file = os.path.join(os.path.dirname(__file__), "configs", config_path)\n',
    ),
    # TorchScript at import, which torch warns of. A module that is scripted compiles the classes
    # that it uses, with or without this line.
    Fix(
        "detectron2/modeling/box_regression.py",
        b"@torch.jit.script\nclass Box2BoxTransform:",
        b"class Box2BoxTransform:",
    ),
    Fix(
        "detectron2/modeling/box_regression.py",
        b"@torch.jit.script\nclass Box2BoxTransformRotated:",
        b"class Box2BoxTransformRotated:",
    ),
)

# Upstream's own requirements. black is left optional: only LazyConfig.to_py calls it.
_METADATA = f"""\
Metadata-Version: 2.1
Name: detectron2
Version: {VERSION}
Summary: Detectron2 at commit b7ff9466, without compiled operators, taken from the labgym wheel
License: Apache-2.0
Requires-Python: >=3.7
Requires-Dist: Pillow>=7.1
Requires-Dist: matplotlib
Requires-Dist: pycocotools>=2.0.2
Requires-Dist: termcolor>=1.1
Requires-Dist: yacs>=0.1.8
Requires-Dist: tabulate
Requires-Dist: cloudpickle
Requires-Dist: tqdm>4.29.0
Requires-Dist: tensorboard
Requires-Dist: fvcore<0.1.6,>=0.1.5
Requires-Dist: iopath<0.1.10,>=0.1.7
Requires-Dist: omegaconf<2.4,>=2.1
Requires-Dist: hydra-core>=1.1
Requires-Dist: packaging
Provides-Extra: lazyconfig
Requires-Dist: black; extra == 'lazyconfig'
"""
_WHEEL = "Wheel-Version: 1.0\nGenerator: segplugins\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def repack(
    labgym: Path, out: Path, *, sha256: str = LABGYM_SHA256, fixes: Sequence[Fix] = FIXES
) -> Path:
    """Writes the wheel `detectron2-<version>-py3-none-any.whl`.

    Args:
        labgym: LabGym's wheel.
        out: folder for the result; made if need be.
        sha256: what the bytes of `labgym` must hash to, 64 hex digits.
        fixes: applied after the import prefix is undone.

    Returns: path of the wheel.

    Raises:
        ValueError: another hash, no detectron2 inside, or a fix whose old text is not there once.
    """
    check_hash(labgym, sha256)
    files = apply_fixes(take_detectron2(labgym), fixes)
    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"detectron2-{VERSION}-py3-none-any.whl"
    write_wheel(files, wheel)
    return wheel


def check_hash(path: Path, sha256: str) -> None:
    """Raises ValueError unless the file's SHA-256 is `sha256` (64 hex digits)."""
    measured = hashlib.sha256(path.read_bytes()).hexdigest()
    if measured != sha256:
        raise ValueError(
            f"{path.name} has sha256 {measured}, expected {sha256}: it is not the file that was "
            "examined; remove it and download it again"
        )


def take_detectron2(labgym: Path) -> Dict[str, bytes]:
    """Returns: path inside the wheel to content, with upstream's paths and imports."""
    files = {}
    with zipfile.ZipFile(labgym) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(_FOLDER) and not name.endswith("/"):
                content = archive.read(name)
                if name.endswith(".py"):
                    content = content.replace(_REWRITTEN, b"detectron2")
                files[name[len("LabGym/") :]] = content
    if "detectron2/__init__.py" not in files:
        raise ValueError(f"{labgym.name} holds no {_FOLDER}: not a LabGym wheel that carries it")
    return files


def apply_fixes(files: Dict[str, bytes], fixes: Sequence[Fix]) -> Dict[str, bytes]:
    """Returns the files with every fix made.

    Raises:
        ValueError: the old text does not stand exactly once in its file.
    """
    fixed = dict(files)
    for file, old, new in fixes:
        times = fixed.get(file, b"").count(old)
        if times != 1:
            raise ValueError(
                f"{file}: expected {old.decode()!r} once, found it {times} times; "
                "this is not the copy that the fixes were written for"
            )
        fixed[file] = fixed[file].replace(old, new)
    return fixed


def write_wheel(files: Dict[str, bytes], wheel: Path) -> None:
    """Writes files (path to content) with METADATA, WHEEL and RECORD as a wheel."""
    info = f"detectron2-{VERSION}.dist-info"
    entries = dict(files)
    entries[f"{info}/METADATA"] = _METADATA.encode()
    entries[f"{info}/WHEEL"] = _WHEEL.encode()
    entries[f"{info}/top_level.txt"] = b"detectron2\n"
    record = "".join(f"{name},{_record_hash(data)},{len(data)}\n" for name, data in entries.items())
    entries[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            member = zipfile.ZipInfo(name, _TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)


def _record_hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


def main() -> None:
    """Repacks the wheel named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("labgym", type=Path, help="labgym-3.1.2-py3-none-any.whl")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the wheel (here)")
    args = parser.parse_args()
    try:
        print(repack(args.labgym, args.out))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"repack_detectron2: {error}")


if __name__ == "__main__":
    main()
