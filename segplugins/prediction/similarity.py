"""paint_similarity: pictures of how alike the places of an image are to words."""

from pathlib import Path
from typing import Sequence

from segplugins.engine.media import read_frames
from segplugins.pictures import save_picture
from segplugins.pictures.heat import draw_heat_maps

from .folder import Outcome, check_writable
from .questions import Question
from .segmenter import Segmenter


def paint_similarity(
    model: Segmenter, question: Question, files: Sequence[Path], output: Path
) -> Outcome:
    """Writes `<name>.similarity.png` for every picture, over one that is there.

    A file that cannot be read is skipped and told in the outcome.

    Args:
        model: of `segplugins.load`, with a CLIP tower.
        question: of `model.ask`, a vocabulary.
        files: of `segplugins.engine.media.find_media`; of a video every frame.
        output: folder of the pictures.

    Raises:
        ValueError: the model has no CLIP tower.
        OSError: nothing can be written into the folder.
    """
    check_writable(output)
    outcome = Outcome()
    for file in files:
        frames = read_frames(file)
        while True:
            try:
                frame = next(frames, None)
            except (ValueError, OSError) as error:
                outcome.skipped.append((file, str(error)))
                break
            if frame is None:
                break
            (maps,) = model.similarity([frame], question)
            painted = draw_heat_maps(frame.image, maps, question.names)
            save_picture(output / f"{frame.name}.similarity.png", painted)
            outcome.written += 1
    return outcome
