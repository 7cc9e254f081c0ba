"""Lists of referring expressions: refs and sentences that cannot be used are taken out."""

from typing import Any, Dict, List, Mapping, Optional

from segplugins.data.check.notes import Notes, is_id

_NO_TARGET = [-1]


def sift_refs(
    refs: List[Any],
    notes: Notes,
    *,
    images: Mapping[Any, Any],
    annotations: Mapping[Any, Any],
    text: str,
) -> List[Dict[str, Any]]:
    """Returns the refs that mean known annotations of known images by sentences that say something.

    Args:
        refs: of all splits.
        notes: gets the faults.
        images: by id.
        annotations: by id.
        text: key of a sentence's words: "raw" or "sent".
    """
    kept: List[Dict[str, Any]] = []
    used = set()
    for position, ref in enumerate(refs):
        sifted = _ref(ref, position, images, annotations, text, notes)
        if sifted is None:
            continue
        if sifted["ref_id"] in used:
            message = f"ref_id {sifted['ref_id']} stands twice"
            notes.note("id", message, record=ref["image_id"], field=f"refs[{position}].ref_id")
            continue
        used.add(sifted["ref_id"])
        kept.append(sifted)
    return kept


def _ref(
    ref: Mapping[str, Any],
    position: int,
    images: Mapping[Any, Any],
    annotations: Mapping[Any, Any],
    text: str,
    notes: Notes,
) -> Optional[Dict[str, Any]]:
    number, image, target = (ref.get(key) for key in ("ref_id", "image_id", "ann_id"))
    where = {"record": image, "field": f"ref {number}" if is_id(number) else f"refs[{position}]"}
    targets = list(target) if isinstance(target, (list, tuple)) else [target]
    if not is_id(number):
        notes.note("id", f"ref without a ref_id: {number!r:.40}", **where)
    elif not isinstance(ref.get("split"), str):
        notes.note("form", f"split is {ref.get('split')!r:.40}, expected a word", **where)
    elif not is_id(image) or image not in images:
        notes.note("unknown-id", f"image_id {image!r:.40} is not listed", **where)
    elif targets != _NO_TARGET and not (
        targets and all(is_id(each) and each in annotations for each in targets)
    ):
        message = f"it means annotation {target!r:.60}, which is not listed, or was taken out"
        notes.note("unknown-id", message, **where)
    elif targets != _NO_TARGET and any(
        annotations[each].get("image_id") != image for each in targets
    ):
        message = f"annotation {target!r:.60} is of another image"
        notes.note("unknown-id", message, **where)
    else:
        sentences = _sentences(ref, text, where, notes)
        return {**ref, "sentences": sentences} if sentences else None
    return None


def _sentences(
    ref: Mapping[str, Any], text: str, where: Mapping[str, Any], notes: Notes
) -> List[Mapping[str, Any]]:
    listed = ref["sentences"] if isinstance(ref["sentences"], (list, tuple)) else []
    kept = []
    for sentence in listed:
        words = sentence.get(text) if isinstance(sentence, Mapping) else None
        if isinstance(words, str) and words.strip():
            kept.append(sentence)
        else:
            notes.note("sentence", f"the sentence '{text}' is {words!r:.40}", **where)
    if not listed:
        notes.note("sentence", "no sentence at all", **where)
    return kept
