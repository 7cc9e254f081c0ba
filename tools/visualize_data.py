"""Shows what the mapper gives the model: image, targets and legend of samples, as PNG sheets.

    python tools/visualize_data.py --config-file configs/sed/camvid.yaml --num 12 --output seen/
    python tools/visualize_data.py --dataset coco_2017_test_stuff_all_sem_seg --num 8
    python tools/visualize_data.py --dataset streets_train DATASETS.REGISTER '["streets.yaml"]'

Images are drawn after augmentation, as training sees them. No model is built, so no GPU is needed.
"""

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from segplugins.engine.command import add_config_arguments, command_parser, run_command

# Heavy packages are imported where they are used, so that --help takes no second.
if TYPE_CHECKING:
    import numpy as np

COLUMNS = 2
PER_SHEET = 8


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_parser(__doc__)
    parser.add_argument(
        "--dataset", help="registered name (default: the training sets of the config)"
    )
    parser.add_argument("--num", type=int, default=16, help="samples (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/data"),
        help="folder of the sheets (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="decides which samples and augmentations are shown (default: %(default)s)",
    )
    add_config_arguments(parser)
    return parser


def label_map(record: Dict[str, Any]) -> Tuple["np.ndarray", List[str]]:
    """Returns what is painted: labels (H, W) int64, -1 = nothing, and the names of the labels.

    Instances are numbered, largest first, so that small ones lie on top.
    """
    import numpy as np
    import torch

    from segplugins.structures import get_vocabulary

    names = record.get("texts") or list(get_vocabulary(record["vocabulary"]).classes)
    if "instances" not in record:
        if "sem_seg" not in record:
            return np.full(record["image"].shape[1:], -1), list(names)
        return record["sem_seg"].numpy(), list(names)
    instances = record["instances"]
    labels = np.full(instances.image_size, -1, dtype=np.int64)
    order = torch.argsort(instances.gt_boxes.area(), descending=True).tolist()
    shown = [names[instances.gt_classes[index]] for index in order]
    for number, index in enumerate(order):
        if instances.has("gt_masks"):
            labels[instances.gt_masks.tensor[index].numpy()] = number
        else:
            _outline(labels, instances.gt_boxes.tensor[index].tolist(), number)
    return labels, shown


def _outline(labels: "np.ndarray", box: Sequence[float], number: int) -> None:
    """Draws a box two pixels wide."""
    x0, y0, x1, y1 = (round(value) for value in box)
    inside = labels[y0 + 2 : max(y1 - 2, y0 + 2), x0 + 2 : max(x1 - 2, x0 + 2)].copy()
    labels[y0:y1, x0:x1] = number
    labels[y0 + 2 : y0 + 2 + inside.shape[0], x0 + 2 : x0 + 2 + inside.shape[1]] = inside


def picture(record: Dict[str, Any]) -> "np.ndarray":
    """Returns image, overlay and legend of a mapped record, (h, w, 3) uint8 RGB."""
    from segplugins.pictures import Style, draw_label_map

    image = record["image"].permute(1, 2, 0).numpy()
    labels, names = label_map(record)
    return draw_label_map(image, labels, names, style=Style(original=True))


def title(record: Dict[str, Any]) -> str:
    """Returns file, size and task of a mapped record in one line."""
    height, width = record["image"].shape[1:]
    parts = [Path(record["file_name"]).name, f"{width} x {height}", str(record["task"])]
    texts = [f"'{text}'" for text in record.get("texts", ())[:3]]
    return "  ".join(parts + texts)


def main(args: argparse.Namespace) -> None:
    """Writes one sheet after the other."""
    import numpy as np
    from tqdm import tqdm

    from segplugins.data import SegMapper, load_dataset
    from segplugins.engine import setup_cfg
    from segplugins.pictures import save_picture, sheet
    from segplugins.projects import load_projects

    if args.num < 1:
        raise ValueError(f"--num must be at least 1, got {args.num}")
    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    names = [args.dataset] if args.dataset else list(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError("name a data set with --dataset, or a config that trains on some")
    records = [record for name in names for record in load_dataset(name)]
    mapper = SegMapper(cfg, is_train=True, dataset_names=names)
    random.seed(args.seed)
    np.random.seed(args.seed)
    chosen = random.sample(records, min(args.num, len(records)))
    pictures, titles = [], []
    for record in tqdm(chosen, desc="mapping", unit="image"):
        mapped = mapper(record)
        pictures.append(picture(mapped))
        titles.append(title(mapped))
    for start in range(0, len(pictures), PER_SHEET):
        part = slice(start, start + PER_SHEET)
        path = args.output / f"{'_'.join(names)}_{start // PER_SHEET}.png"
        save_picture(path, sheet(pictures[part], columns=COLUMNS, titles=titles[part]))
        print(path)


if __name__ == "__main__":
    run_command(main, build_parser())
