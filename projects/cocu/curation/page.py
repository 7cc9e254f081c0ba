"""A page to look at: images, their captions, the concepts added, and where these come from."""

import base64
import html
import io
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

from segplugins.data.pairs import read_pair
from segplugins.data.shards import Entry
from segplugins.files.write import write_text
from segplugins.pictures import beside, save_picture, stacked
from segplugins.pictures.fonts import font_for

from .archives import read_lines
from .concepts import ConceptExtractor, caption_words
from .embed import ShardSet, read_samples
from .index import rows_of
from .job import Curation

_SIDE, _SHOWN, _LETTERS = 150, 6, 15
_STYLE = """body{font:15px sans-serif;margin:2em;max-width:70em}section{border-top:1px solid #ccc;
padding:1em 0;display:flex;gap:1em;flex-wrap:wrap}img{height:150px;display:block}
figure{margin:0;max-width:14em;font-size:12px;color:#555}b{color:#0a5}.own{color:#555}"""


class Shown(NamedTuple):
    """One image of the page.

    Args:
        image: (H, W, 3) uint8 RGB.
        captions: its own.
        concepts: (name, score, whether its own captions hold it), the best first.
        neighbours: (picture, caption) of each that was retrieved.
    """

    image: np.ndarray
    captions: List[str]
    concepts: List[Tuple[str, float, bool]]
    neighbours: List[Tuple[np.ndarray, str]]


def shown_images(curation: Curation, count: int) -> List[Shown]:
    """Returns images spread evenly over the set, with what the archive says of them.

    Args:
        curation: finished.
        count: images, or all if there are fewer.
    """
    total = [len(read_samples(curation.work.embeddings, name)) for name in curation.names]
    numbers = np.unique(np.linspace(0, max(sum(total) - 1, 0), count).round().astype(int))
    starts = np.cumsum(total) - total
    extract = ConceptExtractor(curation.table.names)
    shown = []
    for number in numbers[: sum(total)]:
        place = int(np.searchsorted(starts, number, side="right")) - 1
        row, name = int(number - starts[place]), curation.names[place]
        sample = read_samples(curation.work.embeddings, name)[row]
        line = read_lines(curation.archive.path(f"concepts/{name}.jsonl"))[row]
        rows = np.load(curation.archive.path(f"neighbours/{name}.npy"))[row].tolist()
        own = {
            concept for caption in sample["captions"] for concept in extract(caption_words(caption))
        }
        shown.append(
            Shown(
                _picture(curation.work.shards, name, sample),
                sample["captions"],
                [(c, s, c in own) for c, s in zip(line["concepts"], line["scores"])],
                _neighbours(curation, rows),
            )
        )
    return shown


def _neighbours(curation: Curation, rows: Sequence[int]) -> List[Tuple[np.ndarray, str]]:
    captions = curation.options.expansion == "lang"
    entries = rows_of(curation.index, rows, captions)
    pictures = []
    for row in rows:
        if row < 0:
            continue
        entry = entries[row]
        folder, name = curation.index.shards[entry.shard]
        if folder == curation.work.embeddings:
            picture = _picture(curation.work.shards, name, entry.sample)
        else:
            picture = np.full((_SIDE, _SIDE, 3), 230, np.uint8)  # of a set that is not at hand
        pictures.append((picture, entry.text))
    return pictures


def _picture(shards: ShardSet, name: str, sample: Dict[str, Any]) -> np.ndarray:
    shard = next(shard for shard in shards.shards if Path(shard).stem == name)
    entry = Entry(shard, sample["at"], sample["size"])
    image = Image.fromarray(read_pair(entry, shards.image_root).image)
    image.thumbnail((4 * _SIDE, _SIDE))
    return np.asarray(image)


def write_page(path: Path, shown: Sequence[Shown], title: str) -> None:
    """Writes an .html file that holds its pictures, and a .png beside it.

    Args:
        path: of the .html file.
        shown: the images.
        title: of the page.
    """
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title>"]
    parts.append(f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>")
    parts.append("<p>Green: concepts that no caption of the image holds, with their scores.</p>")
    for item in shown:
        captions = "<br>".join(map(html.escape, item.captions))
        concepts = ", ".join(
            f"<{tag}>{html.escape(name)}</{tag.split()[0]}> {score:.2f}"
            for name, score, own in item.concepts
            for tag in ("span class=own" if own else "b",)
        )
        parts.append(f"<section>{_figure(item.image, '')}")
        parts.append(f"<div style='max-width:30em'><p>{captions}</p><p>{concepts}</p></div>")
        parts += [_figure(picture, text) for picture, text in item.neighbours]
        parts.append("</section>")
    write_text(path, "\n".join(parts) + "\n")
    if shown:
        save_picture(path.with_suffix(".png"), stacked([_row(item) for item in shown]))


def _figure(picture: np.ndarray, text: str) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    caption = f"<figcaption>{html.escape(text)}</figcaption>" if text else ""
    return f"<figure><img src='data:image/jpeg;base64,{data}' alt=''>{caption}</figure>"


def _row(item: Shown) -> np.ndarray:
    added = [f"{name} {score:.2f}" for name, score, own in item.concepts if not own]
    own = [f"{name} {score:.2f}" for name, score, own in item.concepts if own]
    text = [*item.captions[:1], "added: " + ", ".join(added[:12]), "own: " + ", ".join(own[:6])]
    cells = [_framed(item.image), _written(text, 380)]
    for picture, caption in item.neighbours[:_SHOWN]:
        cells.append(np.concatenate([_framed(picture), _written([caption], 200, 60)]))
    height = max(cell.shape[0] for cell in cells)
    return beside([_padded(cell, height) for cell in cells])


def _framed(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((200, _SIDE))
    canvas = Image.new("RGB", (200, _SIDE), "white")
    canvas.paste(image, (0, 0))
    return np.asarray(canvas)


def _padded(cell: np.ndarray, height: int) -> np.ndarray:
    rest = height - cell.shape[0]
    return np.pad(cell, ((0, rest), (0, 0), (0, 0)), constant_values=255)


def _written(texts: Sequence[str], width: int, height: int = _SIDE + 60) -> np.ndarray:
    """Returns paragraphs, (height, width, 3); what does not fit is left out after "..."."""
    canvas = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(canvas), 0
    placed: List[Tuple[int, str]] = []
    for text in texts:
        for line in _lines(text, width):
            placed.append((top, line))
            top += _LETTERS + 3
        top += 6
    shown = [(top, line) for top, line in placed if top + _LETTERS <= height]
    for number, (top, line) in enumerate(shown, 1):
        more = " ..." if number == len(shown) < len(placed) else ""
        draw.text((4, top), line + more, fill="black", font=font_for(line, _LETTERS))
    return np.asarray(canvas)


def _lines(text: str, width: int) -> List[str]:
    """Returns a text in lines of at most that width in pixels; a longer word has its own."""
    font, line, lines = font_for(text, _LETTERS), "", []
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) > width - 10 and line:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]
