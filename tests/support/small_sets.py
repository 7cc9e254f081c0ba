"""Small data sets without a fault, to be broken on purpose."""

import numpy as np

from segplugins.structures.regions import encode_mask

SQUARE = [1.0, 1, 5, 1, 5, 5, 1, 5]  # 4 x 4 pixels


def rle(height=8, width=10):
    mask = np.zeros((height, width), bool)
    mask[2:4, 2:8] = True  # 12 pixels
    return encode_mask(mask)


def coco():
    """Three images of 8 x 10 pixels: two objects, one object, none."""
    images = [{"id": i, "file_name": f"{i}.png", "height": 8, "width": 10} for i in (1, 2, 3)]
    square = {"bbox": [1, 1, 4, 4], "area": 16, "segmentation": [SQUARE], "iscrowd": 0}
    strip = {"bbox": [2, 2, 6, 2], "area": 12, "segmentation": rle(), "iscrowd": 0}
    return {
        "images": images,
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": 11, "image_id": 1, "category_id": 7, **square},
            {"id": 12, "image_id": 1, "category_id": 9, **strip},
            {"id": 13, "image_id": 2, "category_id": 9, **square},
        ],
    }


def ref(number, annotation, *sentences, image=1, **more):
    listed = [{"raw": words, "sent_id": i} for i, words in enumerate(sentences)]
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "split": "train",
        "sentences": listed,
        **more,
    }


def line(number, *regions, **more):
    """A record of region lines; a region is (text, box) or (text, box, mask)."""
    listed = [dict(zip(("text", "box", "mask"), region)) for region in regions]
    size = {"file_name": f"{number}.png", "height": 8, "width": 10}
    return {**size, "regions": listed, **more}
