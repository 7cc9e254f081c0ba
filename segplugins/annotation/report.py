"""The page of an output folder: counts, decisions, distributions, pictures; one file."""

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from segplugins.annotation.inputs import draw_share
from segplugins.annotation.pipeline import records_of, regions_yaml
from segplugins.annotation.ranking import REVIEW, Doubt, rank_images, write_review
from segplugins.annotation.statistics import statistics
from segplugins.files.faults import FaultError
from segplugins.files.jobs import MANIFEST
from segplugins.files.pictures import read_picture
from segplugins.files.write import write_json, write_text
from segplugins.pictures import Style, draw_masks
from segplugins.pictures.page import data_url, page_style
from segplugins.structures.regions import box_outline, decode_mask

REPORT, SUMMARY, REVIEW_DATA = "report.html", "summary.json", "review.yaml"
_SHOWN_NAMES = 30
_STYLE = Style(legend=False, short_side=240, longest_side=480)


def write_report(
    folder: Union[str, Path], images: Union[str, Path], *, pictures: int = 9, review: int = 100
) -> Dict[str, Path]:
    """Writes report.html, summary.json, review.jsonl and review.yaml of a complete output folder.

    Args:
        folder: output folder.
        images: that file names are relative to.
        pictures: shown of all images, and again of the most doubtful.
        review: most images in review.jsonl.

    Returns:
        The three files by "report", "summary" and "review".
    """
    folder = Path(folder)
    ranked = rank_images(folder)
    review_file, _ = write_review(folder, ranked, review)
    counts = statistics(folder)
    write_json(folder / SUMMARY, counts)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    described = regions_yaml("review", folder, images, REVIEW, manifest["recipe"]["task"])
    write_text(folder / REVIEW_DATA, described)
    drawn = _drawn(folder, Path(images), ranked, pictures)
    write_text(folder / REPORT, report_page(folder.name, manifest, counts, ranked, drawn))
    return {"report": folder / REPORT, "summary": folder / SUMMARY, "review": review_file}


def report_page(
    title: str,
    manifest: Mapping[str, Any],
    counts: Mapping[str, Any],
    ranked: Sequence[Doubt],
    drawn: Mapping[str, Sequence[Tuple[str, str]]],
) -> str:
    """Returns the page.

    Args:
        title: of the page.
        manifest: of the output folder.
        counts: of `statistics`.
        ranked: of `rank_images`.
        drawn: heading to (caption, address) of its pictures.

    Returns:
        HTML with everything in it. Nothing is loaded from elsewhere, and no script runs.
    """
    rules = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    left, right = _columns(counts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{page_style()}</style></head>\n<body><main>"
        f"<h1>Annotations: {escape(title)}</h1>{_facts(manifest, counts)}"
        f"<section><h2>Decisions</h2>{_stages_table(counts['stages'])}</section>"
        f'<section><h2>Regions and captions</h2><div class="split">{left}{right}</div></section>'
        f"{''.join(_gallery(name, shown) for name, shown in drawn.items())}"
        f"{_ranking(ranked)}{_recipe(manifest)}</main></body></html>\n"
    )


def _facts(manifest: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    models = manifest["recipe"]["models"]
    named = [f"{name}: {model['kind']} {model.get('digest', '')}" for name, model in models.items()]
    facts = {
        "Images": f"{counts['images']:,} of {manifest['images']['source']}; "
        f"{counts['left_out']:,} left out",
        "Regions": f"{counts['regions']:,}, {counts['masks']:,} of them with a mask; "
        f"{counts['categories']:,} names",
        "Hard negatives": f"{counts['negatives']:,} texts that their image does not show",
        "Set aside": f"{counts['set_aside']:,} regions that a stage dropped",
        "Models": "; ".join(named),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def _stages_table(stages: Mapping[str, Mapping[str, Any]]) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "stage",
            "judged",
            "dropped",
            "share",
            "threshold",
            "10 %",
            "50 %",
            "90 %",
            "values",
        )
    )
    if not stages:
        return "<p>No stage of the recipe decided about anything.</p>"
    body = ""
    for title, counts in stages.items():
        share = counts["dropped"] / max(counts["judged"], 1)
        quantiles = counts.get("quantiles", [None] * 3)
        cells = [f"{counts['judged']:,}", f"{counts['dropped']:,}", _meter(share)]
        cells += [_number(each) for each in (counts["threshold"], *quantiles)]
        cells.append(_bars(counts.get("histogram", ()), counts.get("range", ())))
        body += f"<tr><td>{escape(title)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _columns(counts: Mapping[str, Any]) -> Tuple[str, str]:
    names = list(counts["names"].items())
    most = max(counts["names"].values(), default=1)
    rows = [(name, f"{count:,}", count / most) for name, count in names[:_SHOWN_NAMES]]
    more = (
        f"<p>and {len(names) - _SHOWN_NAMES:,} more names</p>" if len(names) > _SHOWN_NAMES else ""
    )
    table = _meters(rows) if rows else "<p>No region is left.</p>"
    left = f"<div><h3>Names</h3>{table}{more}</div>"
    sizes = [(name, f"{share:.1f} %", share / 100) for name, share in counts["sizes"].items()]
    captions = "".join(
        f"<tr><td>{escape(key)}</td><td>{entry['number']:,}</td><td>{entry['mean_words']:.2f}</td></tr>"
        for key, entry in counts["captions"].items()
    )
    table = "<table><thead><tr><th>captions of</th><th>number</th><th>mean words</th></tr></thead>"
    right = f"<div><h3>Areas of regions</h3>{_meters(sizes)}"
    right += "<p>tiny is below 20 x 20 pixels, small 40 x 40, medium 100 x 100, large 200 x 200</p>"
    right += f"<h3>Captions</h3>{table}<tbody>{captions}</tbody></table>" if captions else ""
    return left, f"{right}</div>"


def _meters(rows: Sequence[Tuple[str, str, float]]) -> str:
    body = "".join(
        f'<tr><td class="name">{escape(name)}</td><td>{_meter(share)}</td><td>{text}</td></tr>'
        for name, text, share in rows
    )
    return f'<div class="tall"><table><tbody>{body}</tbody></table></div>'


def _meter(share: float) -> str:
    value = f"{100 * share:.1f}%"
    return f'<span class="meter seen" style="--value:{value}" title="{value}"></span>'


def _bars(histogram: Sequence[int], ends: Sequence[float]) -> str:
    if not histogram:
        return ""
    title = f"values from {_number(ends[0])} to {_number(ends[1])}"
    highest = max(histogram)
    bars = "".join(
        f'<rect x="{5 * n}" y="{24 - 24 * count / highest:.1f}" width="4" '
        f'height="{24 * count / highest:.1f}" fill="var(--seen)"/>'
        for n, count in enumerate(histogram)
    )
    box = f'viewBox="0 0 {5 * len(histogram)} 24" style="width:110px;min-width:110px"'
    return f'<svg {box} role="img"><title>{title}</title>{bars}</svg>'


def _number(value: Optional[float]) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _gallery(name: str, shown: Sequence[Tuple[str, str]]) -> str:
    figures = "".join(
        f'<figure><div class="row"><img src="{address}" alt="{escape(caption, quote=True)}">'
        f"</div><figcaption>{escape(caption)}</figcaption></figure>"
        for caption, address in shown
    )
    return (
        f'<section><h2>{escape(name)}</h2><div class="pictures single">{figures}</div></section>'
        if figures
        else ""
    )


def _ranking(ranked: Sequence[Doubt]) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.file_name)}</td><td>{each.value:.3f}</td><td>{each.regions}</td></tr>"
        for each in ranked[:_SHOWN_NAMES]
    )
    if not rows:
        return (
            "<section><h2>Most worth a look</h2><p>No filter or verifier measured a region, so no "
            "image is more doubtful than another.</p></section>"
        )
    return (
        "<section><h2>Most worth a look</h2><p>Where filters and verifiers disagree most; "
        "review.jsonl has these images as region lines, with what was dropped</p>"
        '<div class="tall"><table><thead><tr><th>image</th><th>doubt</th><th>regions</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div></section>"
    )


def _recipe(manifest: Mapping[str, Any]) -> str:
    text = escape(json.dumps(manifest, indent=1, ensure_ascii=False))
    return (
        f"<section><details><summary>manifest.json</summary><pre>{text}</pre></details></section>"
    )


def _drawn(
    folder: Path, images: Path, ranked: Sequence[Doubt], count: int
) -> Dict[str, List[Tuple[str, str]]]:
    """Returns pictures of images drawn by lot, and of the most doubtful, in two passes of one read.

    Only the records that are shown are kept.
    """
    doubtful = {doubt.image_id: doubt for doubt in ranked[:count]}
    lots: List[Tuple[float, Dict[str, Any]]] = []
    found: Dict[str, Dict[str, Any]] = {}
    for record in records_of(folder):
        if "error" in record:
            continue
        lots.append((draw_share(record["image_id"]), record))
        lots = sorted(lots, key=lambda lot: lot[0])[:count]
        if record["image_id"] in doubtful:
            found[record["image_id"]] = record
    worst = [found[key] for key in doubtful if key in found]
    return {
        "Pictures": [_picture(images, record, "") for _, record in lots],
        "The most doubtful (what was dropped is in brackets)": [
            _picture(images, record, f"doubt {doubtful[record['image_id']].value:.2f}", True)
            for record in worst
        ],
    }


def _picture(
    images: Path, record: Mapping[str, Any], remark: str, with_dropped: bool = False
) -> Tuple[str, str]:
    """Returns the caption and the address of an image with its regions.

    Of those that were dropped the box is drawn.
    """
    size = (record["height"], record["width"])
    words = [record["file_name"], remark]
    words += [str(each["text"]) for each in record["captions"] if each.get("kept", True)][:1]
    try:
        pixels = read_picture(images / record["file_name"]).fitted(size)
    except FaultError:
        pixels = np.zeros((*size, 3), np.uint8)
        words.append("the image is no longer there")
    regions = [region for region in record["regions"] if "box" in region or "mask" in region]
    masks = [
        decode_mask(region["mask"], *size)
        if "mask" in region
        else box_outline(region["box"], *size)
        for region in regions
    ]
    absent = [r["text"] for r in record["regions"] if "box" not in r and "mask" not in r]
    words += [f"not there: {', '.join(absent)}"] if absent else []
    words += [] if record["regions"] else ["no region is left"]
    names = [region["text"] for region in regions]
    dropped = record.get("set_aside", []) if with_dropped else []
    masks += [box_outline(region["box"], *size) for region in dropped if "box" in region]
    names += [f"({region['text']})" for region in dropped if "box" in region]
    stages = Counter(region.get("extra", {}).get("dropped_by", "") for region in dropped)
    words += [f"{stage} dropped {number}" for stage, number in stages.items()]
    picture = draw_masks(pixels, masks, names, style=_STYLE)
    return " · ".join(filter(None, words)), data_url(picture)
