"""The rate of the whole engine against a bare loop that reads images and asks the model."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, List, Sequence, Tuple

import numpy as np
import torch
import torchvision
from PIL import Image as PILImage

from segplugins.annotation.inputs import FolderInputs
from segplugins.annotation.interfaces import Detection, Image
from segplugins.annotation.model_spec import ModelSpec
from segplugins.annotation.pipeline import Annotator, decisions_of
from segplugins.annotation.recipe import recipe_of
from segplugins.files.pictures import read_picture

_BATCH, _BOXES = 8, 5


@dataclass(frozen=True, kw_only=True)
class ConvolutionSpec(ModelSpec):
    """A detector that costs what a ResNet-18 costs; its boxes are made of the logits."""

    kind: ClassVar[str] = "convolution"
    roles: ClassVar[Tuple[str, ...]] = ("detector",)

    side: int = 224

    def build(self, device: str) -> "ConvolutionDetector":
        """Returns the model with random weights, the same every time."""
        return _detector(device, self.side)


@cache
def _detector(device: str, side: int) -> "ConvolutionDetector":
    """Builds it once: the bare loop does not build it either."""
    torch.manual_seed(0)
    return ConvolutionDetector(torchvision.models.resnet18().to(device).eval(), side)


class ConvolutionDetector:
    """See `ConvolutionSpec`."""

    def __init__(self, model: torch.nn.Module, side: int):
        self._model, self._side = model, side

    def detect(
        self, images: Sequence[Image], names: Sequence[Sequence[str]]
    ) -> List[List[Detection]]:
        """Returns five boxes per image."""
        device = next(self._model.parameters()).device
        pixels = torch.stack(
            [
                torch.nn.functional.interpolate(
                    torch.from_numpy(image.pixels).to(device).permute(2, 0, 1)[None].float() / 255,
                    (self._side, self._side),
                )[0]
                for image in images
            ]
        )
        shares = self._model(pixels)[:, : 4 * _BOXES].sigmoid().reshape(-1, _BOXES, 4).cpu()
        return [
            [_detection(row, image, names[0][0]) for row in rows]
            for rows, image in zip(shares.numpy().astype(np.float64), images)
        ]


def _detection(shares: np.ndarray, image: Image, name: str) -> Detection:
    height, width = image.size
    x, y = shares[0] * width / 2, shares[1] * height / 2
    return Detection(name, (x, y, x + 8 + shares[2] * 40, y + 8 + shares[3] * 40), float(shares[0]))


def measure_rate(bench: Any) -> None:
    """Compares images a second of the engine and of the bare loop, boxes first."""
    count = 16 if bench.quick else 160
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "images"
        images.mkdir()
        draws = np.random.default_rng(0)
        for number in range(count):
            grain = draws.integers(0, 256, (40, 60, 3), np.uint8)
            PILImage.fromarray(grain).resize((480, 320)).save(images / f"{number:04d}.jpg")
        _compare(bench, FolderInputs(images), Path(name))


def _compare(bench: Any, inputs: FolderInputs, work: Path) -> None:
    spec, device = ConvolutionSpec(), str(bench.device)
    model = spec.build(device)
    recipe = recipe_of(
        {
            "batch_size": _BATCH,
            "task": "detection",
            "models": {"model": {"kind": spec.kind}},
            "stages": [
                {"detect": {"model": "model", "names": ["thing"]}},
                {"suppress_overlaps": {"iou": 0.5}},
                {"filter_area": {"low": 0.001}},
            ],
        },
        {spec.kind: ConvolutionSpec},
    )
    runs: List[Path] = []

    def bare() -> List[Detection]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(inputs), _BATCH):
                names = [inputs.name(i) for i in range(start, min(start + _BATCH, len(inputs)))]
                batch = [
                    Image(np.array(read_picture(Path(inputs.root) / each).pixels), each)
                    for each in names
                ]
                for listed in model.detect(batch, [["thing"]] * len(batch)):
                    found += listed
        return found

    def engine() -> Path:
        runs.append(work / f"run{len(runs)}")
        Annotator(recipe, inputs, runs[-1], shard_size=50).run(devices=[device])
        return runs[-1]

    def check() -> None:
        scores = [d["value"] for d in decisions_of(engine()) if d["stage"] == "1 detect"]
        assert len(scores) == _BOXES * len(inputs)
        np.testing.assert_allclose(scores, [each.score for each in bare()], atol=1e-5)

    bench.compare(
        f"{len(inputs)} images of 320 x 480 through a ResNet-18: bare loop, and a recipe in shards",
        bare,
        engine,
        check=check,
        at_least=None if bench.quick else 0.95,
    )
