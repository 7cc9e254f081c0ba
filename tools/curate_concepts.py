#!/usr/bin/env python3
"""Finds the concepts that captions leave out: from the captions of images that look alike (CoCu).

    python tools/curate_concepts.py --data drawn_pairs --out output/cocu/drawn \
        --embedder convnext_drawn --weights output/quickstart/clip/model_final.pth
    python tools/curate_concepts.py --data 'cc3m/*.tar' --out output/cocu/c3 \
        --device cuda --workers 8
    python tools/curate_concepts.py --data 'mine/*.jsonl' --out output/cocu/mine \
        --embedder timm:efficientnet_lite0 --weights package --page 10

Four stages: embed the images, retrieve those most like each, rank the concepts of their captions by
how well the image shows them, cluster these. The data are never changed; OUT/embeddings and
OUT/archive have one file per shard, and OUT/archive/concepts is what DATASETS.SIDECARS names for
training. Stopped or killed, the same command goes on; a file that stands is never made again. The
same command on further machines that share OUT helps. Another model, vocabulary or option is
refused: take another --out, and --embeddings to share the first stage.
"""

import require_segplugins  # noqa: F401  # ends in one line where this Python has none

import argparse
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

from segplugins.engine.command import command_parser, run_command

if TYPE_CHECKING:
    from segplugins.projects.cocu.curation.job import Curation
    from segplugins.projects.cocu.curation.options import ArchiveOptions
    from segplugins.projects.cocu.curation.work import Work

_STAGES = ("embed", "retrieve", "rank", "cluster")


def build_parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    parser = command_parser(__doc__)
    add = parser.add_argument
    add(
        "--data",
        nargs="+",
        required=True,
        metavar="SET",
        help="a registered image-text set, or patterns of .tar and .jsonl files relative to "
        "$DETECTRON2_DATASETS",
    )
    add(
        "--images",
        metavar="DIR",
        help="folder that the file names of .jsonl patterns start from (default: that of the file)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder of what is written")
    add(
        "--embeddings",
        type=Path,
        metavar="DIR",
        help="folder of the first stage, to share it among archives (default: OUT/embeddings)",
    )
    add(
        "--index",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of embeddings that neighbours come from (default: those of --data)",
    )
    add("--stages", nargs="+", choices=_STAGES, default=_STAGES, help="only these (default: all)")
    _add_model(parser)
    _add_options(parser)
    add("--workers", type=int, default=1, help="processes (default: %(default)s)")
    add("--ray", action="store_true", help="on a cluster of Ray instead; --workers actors")
    add(
        "--page",
        type=int,
        default=0,
        metavar="N",
        help="also write OUT/page.html and .png: N images, their captions, concepts, neighbours",
    )
    add(
        "--truth",
        action="store_true",
        help="also print precision and recall at every stage against the tags of the data",
    )
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--embedder",
        default="ViT-B-16-quickgelu",
        metavar="NAME",
        help="a CLIP of open_clip, convnext_drawn, or timm:NAME, which reads images alone "
        "(default: %(default)s)",
    )
    add(
        "--weights",
        metavar="W",
        help="a tag or file for a CLIP, a file or 'package' for timm (default: openai for "
        "the default embedder, else random)",
    )
    add("--device", default="cpu", help="cpu, or cuda: one GPU a worker (default: %(default)s)")
    add("--batch", type=int, default=64, help="images embedded at a time (default: %(default)s)")
    add(
        "--faults",
        choices=("strict", "skip"),
        default="strict",
        help="of samples: stop, or leave them out and count them (default: %(default)s)",
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--vocabulary",
        default="",
        metavar="WORDS",
        help="concepts: a file, a registered vocabulary or 'dog, cat' (default: built from the "
        "captions of the index)",
    )
    add("--vocabulary-size", type=int, default=2000, help="most concepts (default: %(default)s)")
    add("--min-count", type=int, default=5, help="captions of a concept (default: %(default)s)")
    add(
        "--nouns",
        default="rule",
        metavar="HOW",
        help="how a vocabulary is built: rule, nltk or spacy (default: %(default)s)",
    )
    add(
        "--expansion",
        default="vision",
        help="vision: captions of images that look alike; lang: captions that fit the image; none: "
        "its own (default: %(default)s)",
    )
    add("--neighbours", type=int, default=8, help="retrieved (default: %(default)s)")
    add(
        "--search",
        default="exact",
        help="exact, or of faiss: flat, sq8, ivf, ivf_sq8 (default: %(default)s)",
    )
    add("--exclude-self", action="store_true", help="an image is none of its neighbours")
    add("--add-own", action="store_true", help="concepts of its own caption always join")
    add(
        "--ranking",
        default="vision",
        help="vision: also against the retrieved images (Eq. 7); naive: by similarity alone "
        "(default: %(default)s)",
    )
    add(
        "--norm",
        default="per_image_max",
        help="per_image_max as the released code, none as the paper (Eq. 8; default: %(default)s)",
    )
    add("--substring", action="store_true", help="count 'cat' in 'cattle', as the released code")
    add(
        "--clusters",
        type=int,
        default=3,
        help="of an image's concepts; 0 = half as many as concepts (default: %(default)s)",
    )
    add("--top", type=int, default=32, help="most concepts of an image (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the clusters (default: %(default)s)")


def make_work(args: argparse.Namespace) -> "Work":
    """Returns what is curated, where, and by which model."""
    from segplugins.projects.cocu.curation.embed import find_shards
    from segplugins.projects.cocu.curation.work import Work

    weights = args.weights
    if weights is None:
        weights = "openai" if args.embedder == "ViT-B-16-quickgelu" else ""
    if args.workers < 1 or args.batch < 1:
        raise ValueError(f"--workers {args.workers}, --batch {args.batch}: both start at 1")
    if args.page < 0:
        raise ValueError(f"--page is {args.page}, expected a number of images, or 0 for no page")
    return Work(
        find_shards(args.data, args.images),
        args.embeddings or args.out / "embeddings",
        args.out / "archive",
        args.embedder,
        weights,
        tuple(args.index),
        args.device,
        args.batch,
        args.faults,
    )


def make_options(args: argparse.Namespace) -> "ArchiveOptions":
    """Returns how concepts are found, ranked and clustered."""
    from dataclasses import fields

    from segplugins.projects.cocu.curation.options import ArchiveOptions

    values = {**vars(args), "index": args.search}
    return ArchiveOptions(**{field.name: values[field.name] for field in fields(ArchiveOptions)})


def help_along(
    work: "Work", options: "ArchiveOptions", stages: Sequence[str], threads: int
) -> None:
    """Works as one of several processes; the first one tells the errors."""
    from segplugins.processes import be_a_worker

    be_a_worker()
    import torch

    from segplugins.projects.cocu.curation.job import Curation

    torch.set_num_threads(threads)
    try:
        Curation(work, options).run(stages)
    except (ValueError, OSError, ImportError):
        raise SystemExit(1) from None


def start_helpers(
    args: argparse.Namespace, work: "Work", options: "ArchiveOptions"
) -> List["threading.Thread"]:
    """Starts the other processes, each on its GPU."""
    import multiprocessing
    from dataclasses import replace

    import torch

    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // args.workers)
    helpers = []
    for number in range(1, args.workers):
        gpus = torch.cuda.device_count() if args.device == "cuda" else 0
        device = f"cuda:{number % gpus}" if gpus else args.device
        process = context.Process(
            target=help_along,
            args=(replace(work, device=device), options, args.stages, threads),
            daemon=True,
        )
        process.start()
        helpers.append(process)
    torch.set_num_threads(threads)
    return helpers


def show_progress(curation: "Curation", stages: Sequence[str], done: threading.Event) -> None:
    """Shows how many files of each stage stand, until all do."""
    from tqdm import tqdm

    for stage in [stage for stage in _STAGES if stage in stages]:
        files = curation.files(stage)
        with tqdm(total=len(files), unit="shard", desc=stage) as bar:
            while bar.n < len(files):
                bar.update(sum(path.exists() for path in files) - bar.n)
                if bar.n < len(files) and done.wait(0.5):
                    return


def main(args: argparse.Namespace) -> None:
    """Curates, and says what came of it."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    from segplugins.projects.cocu.curation.job import Curation

    work, options = make_work(args), make_options(args)
    curation = Curation(work, options)
    if args.ray:
        from segplugins.annotation.ray_backend import ray_parts

        ray_parts()
    helpers = [] if args.ray else start_helpers(args, work, options)
    done = threading.Event()
    progress = threading.Thread(target=show_progress, args=(curation, args.stages, done))
    progress.start()
    try:
        if args.ray:
            from segplugins.projects.cocu.curation.ray_run import run_on_ray

            run_on_ray(curation, workers=args.workers, stages=args.stages)
        else:
            curation.run(args.stages)
    finally:
        done.set()
        progress.join()
        for helper in helpers:
            helper.terminate()
            helper.join()
    if "cluster" not in args.stages:
        return
    summary = curation.summary()
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in summary.items()))
    print(f"for training: DATASETS.SIDECARS '[\"{work.out / 'concepts'}\"]'")
    if args.truth:
        from segplugins.projects.cocu.curation.quality import archive_quality

        print("stage                 precision  recall  of what captions omit  concepts an image")
        for stage, quality in archive_quality(curation).items():
            shares = [100 * value for value in quality[:3]]
            print("{:20}  {:9.1f}  {:6.1f}  {:21.1f}".format(stage, *shares), end="")
            print(f"  {quality.per_image:17.2f}")
    if args.page:
        from segplugins.projects.cocu.curation.page import shown_images, write_page

        write_page(args.out / "page.html", shown_images(curation, args.page), str(args.out))
        print(f"{args.out / 'page.html'} and .png show {args.page} images")


if __name__ == "__main__":
    run_command(
        main, build_parser(), kept="finished files are kept; the same command goes on there"
    )
