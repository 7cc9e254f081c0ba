"""What users get wrong on the command line: one line that says what, where and what to do next."""

import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image

from segplugins.engine.command import argument_parser, run_command

ROOT = Path(__file__).resolve().parents[2]
TINY = f"--config-file {ROOT / 'configs/sed/tiny.yaml'}"
DEMO = f"demo {TINY} --input pics --output out --vocabulary sky"


@pytest.fixture(scope="module")
def tools():
    """Returns a call that loads a tool once."""
    loaded = {}

    def call(name):
        if name not in loaded:
            spec = importlib.util.spec_from_file_location(
                f"tool_{name}", ROOT / "tools" / f"{name}.py"
            )
            loaded[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        return loaded[name]

    return call


@pytest.fixture
def mistake(tools, tmp_path, monkeypatch, capfd):
    """Types a command in a folder with a few files; returns its exit status and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "segplugins.prediction.loading.build_model", lambda cfg: pytest.fail("a model was built")
    )
    (tmp_path / "pics").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "pics" / "a.png")
    (tmp_path / "file").touch()
    torch.save({"model": {"a": torch.zeros(4000)}}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:9000])
    (tmp_path / "broken.yaml").write_text("kind: semantic\nvocabulary: [a, b\nsets: {}\n")
    (tmp_path / "kind.yaml").write_text("kind: semantc\nsets: {x: {images: pics}}\n")
    (tmp_path / "half.json").write_text('{"results": ')

    def call(line):
        name, *words = line.split()
        tool = tools(name)
        main = getattr(tool, "launched", None) or tool.main
        made = [getattr(tool, each) for each in ("build_parser", "parser") if hasattr(tool, each)]
        parser = made[0]() if made else argument_parser(tool.__doc__)
        before = sorted(tmp_path.iterdir())
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            run_command(main, parser, argv=words)
        assert sorted(tmp_path.iterdir()) == before, "something was left behind"
        return end.value.code, capfd.readouterr().err

    return call


@pytest.mark.parametrize(
    "line, message",
    [
        (f"{DEMO} --batch-size 0", "argument --batch-size: got 0, expected a whole number from 1"),
        (f"{DEMO} --batch-size two", "argument --batch-size: got two, expected a whole number"),
        (f"{DEMO} --threshold 60", "argument --threshold: got 60, expected a number from 0 to 1"),
        (f"{DEMO} --task semantics", "argument --task: invalid choice: 'semantics'"),
        (f"{DEMO} --task panoptic MODEL.WEIGHTS whole.pth", "not with panoptic segments"),
        (f"{DEMO} --task instance --windows MODEL.WEIGHTS whole.pth", "windows would cut objects"),
        (f"{DEMO}", "no weights: name a checkpoint"),
        (f"{DEMO} MODEL.WEIGHTS none.pth", "checkpoint 'none.pth' does not exist; '.' holds cut"),
        (f"{DEMO} MODEL.WEIGHTS pics", "checkpoint 'pics' is a folder; name the file in it"),
        (
            f"{DEMO} MODEL.WEIGHTS cut.pth",
            "is cut short or damaged: its end is missing after 9,000",
        ),
        (f"{DEMO} MODEL.WEIGHTS file", "MODEL.WEIGHTS: checkpoint 'file' is empty"),
        (f"{DEMO} MODEL.WEIGHTS whole.pth MODEL.DEVICE gpu", "MODEL.DEVICE is 'gpu', expected cpu"),
        (f"demo {TINY} --input nowhere --vocabulary a", "no image or video at 'nowhere'"),
        (f"demo {TINY} --input pics --vocabulary broken.yaml", "broken.yaml: the vocabulary file"),
        (
            f"demo {TINY} --input pics --prompt sky MODEL.WEIGHTS whole.pth",
            "a model that parts a picture into classes is asked with --vocabulary",
        ),
        ("demo --config-file configs/sed/tiny.yaml --input pics --vocabulary a", "in this folder"),
        ("demo --vocabulary a", "the following arguments are required: --input, --config-file"),
        (f"eval {TINY} OUTPUT_DIR out", "MODEL.WEIGHTS is empty: this model has learned nothing"),
        ("eval OUTPUT_DIR out", "DATASETS.TEST is empty"),
        (f"eval {TINY} OUTPUT_DIR out MODEL.WEIGHTS none.pth", "'none.pth' does not exist"),
        (
            f"eval {TINY} OUTPUT_DIR out MODEL.WEIGHTS cut.pth",
            "MODEL.WEIGHTS: checkpoint 'cut.pth'",
        ),
        ("train_net OUTPUT_DIR out", "DATASETS.TRAIN is empty"),
        (f"train_net {TINY} OUTPUT_DIR out DATASETS.TRAIN ['gone']", "no data set 'gone'"),
        (f"train_net {TINY} OUTPUT_DIR out MODEL.WEIGHTS none.pth", "'none.pth' does not exist"),
        (f"train_net {TINY} --dry-run OUTPUT_DIR out MODEL.WEIGHTS none.pth", "does not exist"),
        (f"train_net {TINY} OUTPUT_DIR out SOLVER.OPTIMIZER adamm", "SOLVER.OPTIMIZER: unknown"),
        ("train_net --config-file broken.yaml", "broken.yaml' is not readable: line 3, column 5"),
        ("train_net --config-file pics", "no config file 'pics', it is a folder"),
        ("compare a.json half.json", "no results to compare at 'a.json'"),
        ("compare half.json half.json", "half.json is not readable"),
        ("compare half.json", "the following arguments are required: second; --help shows what"),
        ("check_dataset --dataset broken.yaml", "broken.yaml: the data set file is not readable"),
        ("check_dataset --dataset kind.yaml", "set 'x': kind is 'semantc', expected one of"),
        ("check_dataset --dataset none.yaml", "no data set file none.yaml; DATASETS.REGISTER and"),
        ("check_dataset --dataset zzz", "no data set 'zzz' is registered; no name is like it"),
        ("check_dataset --dataset drawn_pairs --workers -1", "--workers is -1, expected 0 or more"),
        ("visualize_data --dataset zzz --output out", "no data set 'zzz' is registered"),
        ("visualize_data --dataset drawn_pairs --num 0 --output out", "--num must be at least 1"),
        ("convert_checkpoint cut.pth new.pth", "checkpoint 'cut.pth' is cut short or damaged"),
        ("convert_checkpoint none.pth new.pth", "checkpoint 'none.pth' does not exist"),
        ("convert_checkpoint whole.pth whole.pth", "is the input itself; name another file"),
        ("convert_checkpoint whole.pth new.pth --kind fcclip", "--kind 'fcclip': expected clip"),
        ("convert_checkpoint whole.pth new.pth", "has neither the names of a CLIP nor"),
        ("benchmark nothing", "unknown part 'nothing'; known: "),
        ("make_drawn_world --out new --size 12x", "argument --size: '12x' is no size"),
        ("make_drawn_world --out new --train -1", "train is -1; expected 0 to"),
        ("quickstart --freshh", "unrecognized arguments: --freshh; --help shows what"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(mistake, line, message):
    status, error = mistake(line)
    assert status == 2
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert message in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "line, message",
    [
        (
            f"{DEMO} MODEL.DEVICE cuda",
            "no CUDA device is visible; run on the CPU with MODEL.DEVICE",
        ),
        ("benchmark sed --device cuda", "--device is cuda, but no GPU is visible to torch"),
        (f"train_net {TINY} --num-gpus 2", "--num-gpus 2, but 0 CUDA devices are visible"),
    ],
)
def test_without_a_gpu_none_can_be_asked_for(mistake, line, message):
    status, error = mistake(line)
    assert status == 2 and error.startswith("error: ") and message in error
