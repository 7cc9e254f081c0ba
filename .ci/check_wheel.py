"""Imports every module of an installed wheel, and compares its data files with the checkout.

python check_wheel.py CHECKOUT
"""

import importlib
import pkgutil
import sys
import sysconfig
from pathlib import Path

import segplugins
from segplugins.projects import load_projects

DATA = (".json", ".txt", ".yaml")


def data_files(folder: Path) -> dict:
    """Returns: path below the folder to content, for each data file in it."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in DATA)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def main() -> None:
    """Ends with a line that says what was found, or with an error."""
    checkout, installed = Path(sys.argv[1]), Path(segplugins.__file__).parent
    assert installed == Path(sysconfig.get_path("purelib"), "segplugins"), installed
    modules = [m.name for m in pkgutil.walk_packages(segplugins.__path__, "segplugins.")]
    for name in modules:
        importlib.import_module(name)

    papers = sorted(load_projects())
    expected = sorted(path.parent.name for path in checkout.glob("projects/*/__init__.py"))
    assert papers == expected, f"papers in the wheel {papers}, in the checkout {expected}"

    wanted = data_files(checkout / "segplugins")
    for paper in papers:
        below = data_files(checkout / "projects" / paper)
        wanted.update({f"projects/{paper}/{name}": text for name, text in below.items()})
    found = data_files(installed)
    assert found == wanted, f"data files differ: {sorted(found.keys() ^ wanted.keys())}"
    print(f"wheel: {len(modules)} modules import, {len(found)} data files, papers: {papers}")


if __name__ == "__main__":
    main()
