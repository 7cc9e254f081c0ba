"""Shows what the mapper gives the model: image, targets and legend of samples, as PNG sheets.

    python tools/visualize_data.py --config-file configs/sed/camvid.yaml --num 12 --output seen/
    python tools/visualize_data.py --dataset coco_2017_test_stuff_all_sem_seg --num 8
    python tools/visualize_data.py --dataset streets_train DATASETS.REGISTER '["streets.yaml"]'

Images are drawn after augmentation, as training sees them; instances as masks with their outlines,
or as boxes where there are no masks. No model is built, so no GPU is needed.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import random
from pathlib import Path

from segplugins.engine.command import (
    add_config_arguments,
    command_parser,
    run_command,
    whole_number,
)

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
        type=whole_number(0),
        default=0,
        help="decides which samples and augmentations are shown (default: %(default)s)",
    )
    add_config_arguments(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Writes one sheet after the other."""
    import numpy as np
    from tqdm import tqdm

    from segplugins.data import SegMapper, load_dataset
    from segplugins.data.pairs import is_pairs
    from segplugins.engine import setup_cfg
    from segplugins.engine.mapped_pictures import draw_record, title_of
    from segplugins.files.write import probe_folder
    from segplugins.pictures import save_picture, sheet
    from segplugins.projects import load_projects

    if args.num < 1:
        raise ValueError(f"--num must be at least 1, got {args.num}")
    cfg = setup_cfg(args, [paper.add_config for paper in load_projects().values()])
    names = [args.dataset] if args.dataset else list(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError("name a data set with --dataset, or a config that trains on some")
    if is_pairs(names):
        raise ValueError(f"{names} are image-text pairs, which have no masks or labels to draw")
    records = [record for name in names for record in load_dataset(name)]
    probe_folder(args.output)  # before the pictures are mapped, not after it
    mapper = SegMapper(cfg, is_train=True, dataset_names=names)
    random.seed(args.seed)
    np.random.seed(args.seed)
    chosen = random.sample(records, min(args.num, len(records)))
    pictures, titles = [], []
    for record in tqdm(chosen, desc="mapping", unit="image", disable=None):
        mapped = mapper(record)
        pictures.append(draw_record(mapped))
        titles.append(title_of(mapped))
    for start in range(0, len(pictures), PER_SHEET):
        part = slice(start, start + PER_SHEET)
        path = args.output / f"{'_'.join(names)}_{start // PER_SHEET}.png"
        save_picture(path, sheet(pictures[part], columns=COLUMNS, titles=titles[part]))
        print(path)


if __name__ == "__main__":
    run_command(main, build_parser())
