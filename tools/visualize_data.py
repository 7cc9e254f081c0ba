"""Shows what the mapper gives the model: image, targets and legend of samples, as PNG sheets.

    python tools/visualize_data.py --config-file configs/sed/camvid.yaml --num 12 --output seen/

Images are drawn after augmentation, as training sees them.
"""

import argparse
import random
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from tqdm import tqdm

from segplugins.data import SegMapper, load_dataset
from segplugins.engine import setup_cfg
from segplugins.pictures import Style, draw_label_map, save_picture, sheet
from segplugins.projects import load_projects
from segplugins.structures.vocabulary import get_vocabulary

COLUMNS = 2
PER_SHEET = 8


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", help="how images are augmented; detectron2's defaults else"
    )
    parser.add_argument("--dataset", help="registered name; the config's training sets else")
    parser.add_argument("--num", type=int, default=16, help="samples (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("output/data"), help="folder of sheets")
    parser.add_argument("--seed", type=int, default=0, help="which samples, which augmentations")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys to change")
    return parser.parse_args()


def label_map(record: Dict[str, Any]) -> Tuple[np.ndarray, List[str]]:
    """Returns what is painted: labels (H, W) int64, -1 = nothing, and the names of the labels.

    Instances are numbered, largest first, so that small ones lie on top.
    """
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


def _outline(labels: np.ndarray, box: Sequence[float], number: int) -> None:
    """Draws a box two pixels wide."""
    x0, y0, x1, y1 = (round(value) for value in box)
    inside = labels[y0 + 2 : max(y1 - 2, y0 + 2), x0 + 2 : max(x1 - 2, x0 + 2)].copy()
    labels[y0:y1, x0:x1] = number
    labels[y0 + 2 : y0 + 2 + inside.shape[0], x0 + 2 : x0 + 2 + inside.shape[1]] = inside


def picture(record: Dict[str, Any]) -> np.ndarray:
    """Returns image, overlay and legend of a mapped record, (h, w, 3) uint8 RGB."""
    image = record["image"].permute(1, 2, 0).numpy()
    labels, names = label_map(record)
    return draw_label_map(image, labels, names, style=Style(original=True))


def title(record: Dict[str, Any]) -> str:
    """Returns file, size and task of a mapped record in one line."""
    height, width = record["image"].shape[1:]
    parts = [Path(record["file_name"]).name, f"{width} x {height}", str(record["task"])]
    texts = [f"'{text}'" for text in record.get("texts", ())[:3]]
    return "  ".join(parts + texts)


def main() -> None:
    """Writes one sheet after the other."""
    args = arguments()
    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    names = [args.dataset] if args.dataset else list(cfg.DATASETS.TRAIN)
    if not names:
        raise SystemExit("error: name a data set with --dataset, or a config that trains on some")
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
    main()
