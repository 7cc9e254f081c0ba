"""The file for servers: on disk while an evaluation runs, in the order of the data set."""

import json
import multiprocessing

import numpy as np
import pytest
import torch.distributed as dist
from pycocotools import mask as coco_mask

from segplugins.evaluation import result_file
from segplugins.evaluation.detections import Detections
from segplugins.evaluation.result_file import ResultFile, result_text


def test_predictions_are_told_as_coco_has_it():
    rle = coco_mask.encode(np.asfortranarray(np.eye(3, dtype=np.uint8)))
    detections = Detections(
        np.array([1, 0]),
        np.array([0.5, 0.25]),
        np.array([[1.0, 2, 3, 4], [0, 0, 1.5, 1]]),
        [rle, rle],
    )
    results = json.loads(f"[{result_text(np.int64(7), (10, 20), detections)}]")
    mask = {"size": [3, 3], "counts": rle["counts"].decode()}
    first = {"image_id": 7, "category_id": 20, "bbox": [1, 2, 3, 4], "segmentation": mask}
    second = {"image_id": 7, "category_id": 10, "bbox": [0, 0, 1.5, 1], "segmentation": mask}
    assert results == [{**first, "score": 0.5}, {**second, "score": 0.25}]
    with pytest.raises(TypeError, match="is no JSON value"):
        result_text({1}, (10, 20), detections)


def test_texts_are_written_in_the_order_that_is_asked_for(tmp_path):
    file = ResultFile(str(tmp_path / "new"), "x.json", distributed=False)
    for key, text in ((3, "30"), (1, '"ä"'), (2, ""), (4, "40, 41")):
        file.add(key, text)
    file.join()
    file.write([1, 2, 3, 4])
    assert json.loads(file.path.read_text("utf-8")) == ["ä", 30, 40, 41]
    file.reset()
    file.write([])
    assert json.loads(file.path.read_text()) == []
    assert [path.name for path in file.path.parent.iterdir()] == ["x.json"]


def one_process(rank, world, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    result_file._PIECE = 4  # one text or two at a time
    file = ResultFile(str(folder / "out"), "x.json")
    # Both processes have sample 2, as a padding sampler gives it out: that of the first counts.
    for key in ((0, 1, 2), (2, 3, 4, 5, 6, 7))[rank]:
        file.add(key, str(100 * rank + key))
    file.join()
    if rank == 0:
        file.write(range(8))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_first_process_gathers_the_texts_of_all_piece_by_piece(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=one_process, args=(r, 2, tmp_path)) for r in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0]
    written = json.loads((tmp_path / "out" / "x.json").read_text())
    assert written == [0, 1, 2, 103, 104, 105, 106, 107]
