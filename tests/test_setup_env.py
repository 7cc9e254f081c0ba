"""The set-up script, on miniature wheels and without a network."""

import base64
import hashlib
import importlib.util
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def load(name):
    """Loads a file of tools/ under its plain name, as Python does when one of them is run."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pip_runner = load("pip_runner")
repack_detectron2 = load("repack_detectron2")
setup_env = load("setup_env")
SetupError = pip_runner.SetupError


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def labgym(tmp_path):
    """A wheel with the three files that get fixed, one that imports them, and one of LabGym's."""
    wheel = tmp_path / "labgym-3.1.2-py3-none-any.whl"
    files = {}
    for fix in repack_detectron2.FIXES:  # some files have two
        rewritten = fix.old.replace(b'"detectron2.', b'"LabGym.detectron2.')
        name = f"LabGym/{fix.file}"
        files[name] = files.get(name, b"x = 1\n") + rewritten + b"\n"
    files["LabGym/detectron2/__init__.py"] = b"from LabGym.detectron2.data import common\n"
    files["LabGym/detectron2/data/__init__.py"] = b""
    files["LabGym/detectron2/model_zoo/a.yaml"] = b"NOTE: LabGym.detectron2 stays in data\n"
    files["LabGym/__init__.py"] = b"raise RuntimeError('GPL code, not to be taken')\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


@pytest.fixture
def repacked(labgym, tmp_path):
    return repack_detectron2.repack(labgym, tmp_path / "out", sha256=sha256(labgym))


def test_the_repack_takes_detectron2_alone_and_undoes_the_prefix_in_code(repacked):
    with zipfile.ZipFile(repacked) as wheel:
        assert wheel.read("detectron2/__init__.py") == b"from detectron2.data import common\n"
        assert b"LabGym.detectron2" in wheel.read("detectron2/model_zoo/a.yaml")
        assert not [name for name in wheel.namelist() if name.startswith("LabGym")]


def test_the_repack_makes_each_fix(repacked):
    with zipfile.ZipFile(repacked) as wheel:
        for file in {fix.file for fix in repack_detectron2.FIXES}:
            fixed = [fix.new for fix in repack_detectron2.FIXES if fix.file == file]
            assert wheel.read(file) == b"x = 1\n" + b"".join(new + b"\n" for new in fixed)


def test_after_the_fixes_nothing_asks_for_pkg_resources_or_scripts_at_import(repacked):
    with zipfile.ZipFile(repacked) as wheel:
        code = b"".join(wheel.read(name) for name in wheel.namelist() if name.endswith(".py"))
    assert b"pkg_resources" not in code and b"@torch.jit.script\n" not in code


def test_the_record_names_every_file_with_its_hash_and_size(repacked):
    with zipfile.ZipFile(repacked) as wheel:
        record = f"detectron2-{repack_detectron2.VERSION}.dist-info/RECORD"
        rows = [line.rsplit(",", 2) for line in wheel.read(record).decode().splitlines()]
        assert sorted(name for name, _, _ in rows) == sorted(wheel.namelist())
        for name, digest, size in rows:
            if name != record:
                content = wheel.read(name)
                expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
                assert (digest, int(size)) == (f"sha256={expected.decode()[:-1]}", len(content))


def test_pip_installs_the_repack_as_detectron2(repacked, tmp_path):
    target = tmp_path / "target"
    command = pip_runner.pip("install", "-q", "--no-deps", "--no-index", "--target", str(target))
    subprocess.run([*command, str(repacked)], check=True)
    (found,) = metadata.distributions(path=[str(target)])
    assert found.metadata["Name"] == "detectron2"
    assert found.metadata["License"] == "Apache-2.0"
    assert Requirement("detectron2>=0.6").specifier.contains(found.version)
    assert "fvcore<0.1.6,>=0.1.5" in found.requires
    assert [line for line in found.requires if "black" in line and "extra" not in line] == []


def test_the_same_wheel_gives_the_same_repack(labgym, repacked, tmp_path):
    again = repack_detectron2.repack(labgym, tmp_path / "again", sha256=sha256(labgym))
    assert again.read_bytes() == repacked.read_bytes()


def test_a_wheel_with_another_hash_is_refused(labgym, tmp_path):
    with pytest.raises(ValueError, match=rf"labgym.*has sha256 {sha256(labgym)}, expected a2900c"):
        repack_detectron2.repack(labgym, tmp_path)


@pytest.mark.parametrize("times", [0, 2])
def test_a_fix_whose_old_text_is_not_there_once_is_an_error(labgym, times):
    files = repack_detectron2.take_detectron2(labgym)
    fix = repack_detectron2.FIXES[1]
    files[fix.file] = fix.old * times
    with pytest.raises(ValueError, match=rf"sem_seg_evaluation.py.*once, found it {times} times"):
        repack_detectron2.apply_fixes(files, repack_detectron2.FIXES)


def test_a_wheel_without_detectron2_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("LabGym/__init__.py", "")
    with pytest.raises(ValueError, match="other.whl holds no LabGym/detectron2/"):
        repack_detectron2.take_detectron2(tmp_path / "other.whl")


def test_a_saved_wheel_of_detectron2_is_used_as_it_is(repacked, tmp_path):
    assert setup_env.detectron2_wheel(repacked, tmp_path) == repacked


def test_a_saved_wheel_of_labgym_is_checked(labgym, tmp_path):
    with pytest.raises(ValueError, match="remove it and download it again"):
        setup_env.detectron2_wheel(labgym, tmp_path)


@pytest.mark.parametrize("name, message", [("absent.whl", "no file"), ("six.whl", "six.whl is no")])
def test_another_file_for_detectron2_is_refused(tmp_path, name, message):
    (tmp_path / "six.whl").touch()
    with pytest.raises(SetupError, match=message):
        setup_env.detectron2_wheel(tmp_path / name, tmp_path)


def test_the_wheel_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SEGPLUGINS_DETECTRON2_WHEEL", "saved.whl")
    assert setup_env.parse([]).detectron2_wheel == Path("saved.whl")
    assert setup_env.parse(["--detectron2-wheel", "b.whl"]).detectron2_wheel == Path("b.whl")
    monkeypatch.delenv("SEGPLUGINS_DETECTRON2_WHEEL")
    assert setup_env.parse([]).detectron2_wheel is None


def test_pins_are_read_with_comments_and_normal_names(tmp_path):
    (tmp_path / "pins.txt").write_text("# why\nopen_clip_torch==3.3.0\n\nPyYAML==6.0.3  # reads\n")
    pins = {"open-clip-torch": "3.3.0", "pyyaml": "6.0.3"}
    assert setup_env.read_pins(tmp_path / "pins.txt") == pins


@pytest.mark.parametrize("line", ["numpy", "numpy>=1.26", "numpy==", "-r other.txt"])
def test_a_line_that_pins_nothing_is_an_error(tmp_path, line):
    (tmp_path / "pins.txt").write_text(f"six==1.0\n{line}\n")
    with pytest.raises(SetupError, match=r"pins.txt, line 2: .* is no pin"):
        setup_env.read_pins(tmp_path / "pins.txt")


def test_unmet_pins_are_those_missing_or_different():
    pins = {"a": "1.0", "b": "2.0", "c": "3.0", "d": "4.0"}
    assert setup_env.unmet(pins, {"a": "1.0", "b": "2.1", "d": "4.0+cpu"}) == ["b", "c"]


def test_everything_declared_is_pinned():
    pins = {**setup_env.wanted_pins({}, dev=True), **setup_env.TORCH_PAIR}
    for line in metadata.requires("segplugins"):
        requirement = Requirement(line)
        if requirement.marker is None or "dev" in str(requirement.marker):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


def test_another_build_of_opencv_is_kept_and_no_second_one_installed():
    assert "opencv-python-headless" in setup_env.wanted_pins({}, dev=False)
    have = {"opencv-python": "4.11.0.86"}
    assert "opencv-python-headless" not in setup_env.wanted_pins(have, dev=False)


@pytest.fixture
def commands(monkeypatch):
    """What the script would have run, instead of running it."""
    ran = []

    def run_pip(command, *, doing):
        ran.append(command)
        if "--requirement" in command:  # a file that is gone afterwards
            command.extend(Path(command[-1]).read_text().split())

    monkeypatch.setattr(setup_env, "run_pip", run_pip)
    monkeypatch.setattr(setup_env, "add_checkout", lambda packages: ran.append(packages))
    return ran


def test_a_working_torch_pair_is_kept(commands, monkeypatch):
    monkeypatch.setattr(setup_env, "probe", lambda statement: None)
    setup_env.install_requirements({"torch": "2.9.1"}, dev=False, use_uv=False)
    (command,) = commands
    assert "numpy==2.3.4" in command and "lvis==0.5.3" in command
    assert {"--no-deps", "--require-hashes"} <= set(command)
    assert not [word for word in command if word.startswith(setup_env.TORCH_FAMILY)]


def test_a_pair_that_does_not_import_is_replaced_together(commands, monkeypatch, capsys):
    answers = iter(["RuntimeError: operator torchvision::nms does not exist", None])
    monkeypatch.setattr(setup_env, "probe", lambda statement: next(answers))
    setup_env.install_requirements({"torch": "2.13.0+cpu"}, dev=False, use_uv=False)
    assert {"torch==2.11.0", "torchvision==0.26.0"} <= set(commands[0])
    assert "operator torchvision::nms does not exist; installing" in capsys.readouterr().out


def test_nothing_is_installed_where_all_pins_are_met(commands, monkeypatch):
    monkeypatch.setattr(setup_env, "probe", lambda statement: None)
    have = {**setup_env.wanted_pins({}, dev=True), **setup_env.LVIS}
    setup_env.install_requirements(have, dev=True, use_uv=False)
    assert commands == []


def test_without_hashes_pip_finds_what_the_pins_need(commands, monkeypatch):
    monkeypatch.setattr(setup_env, "probe", lambda statement: None)
    setup_env.install_requirements({}, dev=True, use_uv=False, hashes=False)
    (command,) = commands
    assert {"numpy==2.3.4", "pytest==9.2.0"} <= set(command)
    assert not {"--no-deps", "--require-hashes"} & set(command)
    assert setup_env.parse(["--no-hashes"]).no_hashes and not setup_env.parse([]).no_hashes


@pytest.fixture(scope="module")
def locks():
    """The lock files as they lie in the checkout: what training takes, and what tests add."""
    names = ("requirements.lock", "requirements-dev.lock")
    return [setup_env.read_lock((ROOT / name).read_text()) for name in names]


def test_every_pin_and_the_torch_pair_stand_in_a_lock_with_hashes(locks):
    both = {**locks[1], **locks[0]}
    assert not locks[0].keys() & locks[1].keys(), "a package of one lock is in the other"
    pins = {**setup_env.wanted_pins({}, dev=True), **setup_env.TORCH_PAIR, **setup_env.LVIS}
    for name, version in pins.items():
        assert both[name].partition(" ")[0].partition("==")[2] == version, (
            f"{name}: run tools/lock_requirements.py"
        )
    for name, text in both.items():
        entries = [line for line in text.splitlines() if not line.startswith(" ")]
        assert all("==" in entry for entry in entries), name
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(entries), name
        # No address and no option that would send pip elsewhere.
        assert "//" not in text and not re.search(r"--(?!hash=)", text), name


def test_the_locks_hold_all_that_the_pinned_packages_need(locks):
    """Asked of the installed ones: with --no-deps nothing would bring what is left out."""
    both = {**locks[1], **locks[0]}
    for name in both:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another platform, or a torch for CPUs
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                wanted = canonicalize_name(need.name)
                # lvis names an OpenCV build of its own and helpers that it never imports.
                assert wanted in both or name == "lvis", f"{name} needs {need}"


def test_only_what_is_missing_or_differs_is_installed_anew(locks):
    versions = {name: text.partition(" ")[0].partition("==")[2] for name, text in locks[0].items()}
    have = {**versions, "numpy": "2.0.0", "fsspec": "2020.1"}
    del have["regex"], have["filelock"]
    text = setup_env.locked(have, dev=False, keep_torch=True)
    # fsspec is needed by others only: theirs to judge, and left alone.
    assert sorted(setup_env.read_lock(text)) == ["filelock", "numpy", "regex"]
    text = setup_env.locked({}, dev=True, keep_torch=False)
    assert setup_env.read_lock(text).keys() == locks[0].keys() | locks[1].keys()
    text = setup_env.locked({"opencv-python": "4.11.0.86"}, dev=False, keep_torch=False)
    assert "opencv-python-headless" not in setup_env.read_lock(text)


@pytest.mark.parametrize("right", [True, False])
def test_pip_takes_a_file_of_the_locked_hash_and_no_other(repacked, tmp_path, monkeypatch, right):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(repacked.parent))
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "target"))
    digest = sha256(repacked) if right else "0" * 64
    text = f"detectron2=={repack_detectron2.VERSION} --hash=sha256:{digest}\n"
    if right:
        setup_env.install_locked(text, use_uv=False, doing="installing it")
        assert (tmp_path / "target" / "detectron2" / "__init__.py").is_file()
        return
    with pytest.raises(SetupError, match="failed: .*is not in requirements.*--no-hashes"):
        setup_env.install_locked(text, use_uv=False, doing="installing it")
    assert not (tmp_path / "target").exists()


def test_a_detectron2_that_imports_is_kept(commands, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "importable", lambda module: True)
    setup_env.install_without_dependencies({"detectron2": "0.6+own"}, Path("saved.whl"))
    command, packages = commands
    assert command[-2:] == ["--editable", str(ROOT)] and packages.name == "site-packages"
    assert "saved.whl" not in command
    assert "lvis==0.5.3" in command
    assert "detectron2 0.6+own is there and kept, saved.whl unused" in capsys.readouterr().out


def test_a_copy_that_an_older_version_repacked_is_replaced(commands, monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env, "importable", lambda module: True)
    monkeypatch.setattr(setup_env, "detectron2_wheel", lambda wheel, folder: tmp_path / "new.whl")
    for version, replaced in (("0.6+b7ff946", True), (setup_env.REPACKED, False), ("0.6", False)):
        assert setup_env.repacked_before({"detectron2": version}) == replaced
        setup_env.install_without_dependencies({"detectron2": version}, None)
        assert (str(tmp_path / "new.whl") in commands[-2]) == replaced


def test_a_detectron2_that_does_not_import_is_not_replaced(monkeypatch):
    monkeypatch.setattr(setup_env, "probe", lambda statement: "ImportError: undefined symbol")
    with pytest.raises(SetupError, match="does not import: ImportError: undefined.*uninstall"):
        setup_env.check_detectron2()


def test_a_second_call_asks_nothing_but_the_stamp(monkeypatch, tmp_path):
    have = {**setup_env.wanted_pins({}, dev=False), **setup_env.LVIS}
    monkeypatch.setattr(setup_env, "installed", lambda: dict(have))
    monkeypatch.setattr(setup_env, "project_is_installed", lambda: True)
    monkeypatch.setattr(setup_env, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(setup_env, "probe", lambda statement: pytest.fail("imports something"))
    assert not setup_env.everything_stands(have, dev=False)
    setup_env.STAMP.write_text(setup_env.state_of(have))
    setup_env.set_up(dev=False, use_uv=False, wheel=None)
    assert not setup_env.everything_stands(have, dev=True), "pytest and ruff are missing"
    # Whatever is installed or removed afterwards makes the stamp void.
    assert not setup_env.everything_stands({**have, "six": "1.0"}, dev=False)


def test_the_check_names_each_fault(monkeypatch):
    monkeypatch.setattr(setup_env, "probe", lambda statement: "ModuleNotFoundError: gone")
    monkeypatch.setattr(setup_env, "project_is_installed", lambda: False)
    have = {**setup_env.wanted_pins({}, dev=False), "numpy": "2.5.2", "opencv-python": "4.11.0.86"}
    monkeypatch.setattr(setup_env, "installed", lambda: have)
    shown = []
    assert setup_env.check(dev=False, show=shown.append) == 5
    assert "note: numpy 2.5.2, tried with 2.3.4" in shown
    assert "fault: missing: lvis" in shown
    assert "fault: torchvision: ModuleNotFoundError: gone" in shown
    assert "fault: detectron2: ModuleNotFoundError: gone" in shown
    assert any("opencv-python-headless and opencv-python share one folder" in x for x in shown)
    assert "fault: segplugins is not installed from this checkout" in shown


def test_a_folder_that_an_uninstall_left_is_not_taken_for_the_package(monkeypatch, tmp_path):
    (tmp_path / "left_over" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert not setup_env.importable("left_over")
    (tmp_path / "left_over" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert setup_env.importable("left_over")


def test_a_probe_gives_the_last_line_of_the_error():
    assert setup_env.probe("import json") is None
    assert setup_env.probe("import no_such") == "ModuleNotFoundError: No module named 'no_such'"


@pytest.mark.parametrize(
    "line, shown",
    [
        (
            "Downloading torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl (530.6 MB)",
            "  torch, 531 MB",
        ),
        (
            "  Using cached nvidia_nccl_cu13-2.28.9-py3-none-any.whl (196.6 MB)",
            "  nvidia_nccl_cu13, 197 MB",
        ),
        ("Downloading yacs-0.1.8-py3-none-any.whl (14 kB)", None),
        ("Downloading scipy-1.17.1-cp311-cp311-manylinux_2_27_x86_64.whl (35.0 MB)", None),
        ("Installing collected packages: a, b, c", "  unpacking 3 packages"),
        ("Collecting torch==2.11.0", None),
    ],
)
def test_only_large_downloads_and_the_last_step_are_shown(line, shown):
    assert pip_runner.progress(line) == shown


@pytest.mark.parametrize(
    "output, cause",
    [
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for torch==2.11.0\n",
            "index cannot be reached",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device\n", "the disk is full"),
        ("Collecting a\nERROR: No matching distribution found for a==9\n", "No matching .* a==9"),
        ("error: Failed to fetch: a page\n  cause: client error\n", "index cannot be reached"),
        ("error: no such option\nhint: another\n", "no such option"),
        ("Segmentation fault\n", "Segmentation fault"),
        ("", "no message"),
    ],
)
def test_a_failure_of_pip_is_told_in_one_line(output, cause):
    command = [sys.executable, "-c", f"print({output!r}, end=''); raise SystemExit(1)"]
    with pytest.raises(SetupError, match=f"installing it: failed: .*{cause}") as error:
        pip_runner.run_pip(command, doing="installing it")
    assert "\n" not in str(error.value)


def test_uv_must_be_there_when_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match="no uv on the PATH"):
        setup_env.installer(use_uv=True)


def test_an_old_python_is_refused_with_the_next_step(monkeypatch):
    monkeypatch.setattr(setup_env, "OLDEST_PYTHON", (4, 0))
    with pytest.raises(SetupError, match="too old, 3.11 or 3.12 is needed.*make PYTHON"):
        setup_env.check_python()


@pytest.mark.parametrize(
    "version, fault",
    [("2.3.1+cpu", "ImportError: torch 2.3.1+cpu is older than (2, 4)"), ("2.11.0", None)],
)
def test_a_torch_that_is_too_old_does_not_work(version, fault):
    pretend = (
        "import sys, types\n"
        "for name in ('torch', 'torchvision'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        f"sys.modules['torch'].__version__ = '{version}'\n"
    )
    assert setup_env.probe(pretend + setup_env.PROBES["torchvision"]) == fault
