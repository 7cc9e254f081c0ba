"""Results, truth and runs as pictures that people can read. Images are (H, W, 3) uint8 RGB."""

from segplugins.pictures.colours import class_colours, picture_colours
from segplugins.pictures.curves import curves
from segplugins.pictures.draw import Style, draw_label_map, draw_masks, draw_panoptic
from segplugins.pictures.legend import PAPER
from segplugins.pictures.painting import paint_label_map, paint_masks, seen_class_colours
from segplugins.pictures.sheets import beside, save_picture, sheet, stacked
from segplugins.pictures.sizes import drawing_size, enlarged, resized_image, resized_labels

__all__ = [
    "PAPER",
    "Style",
    "beside",
    "class_colours",
    "curves",
    "draw_label_map",
    "draw_masks",
    "draw_panoptic",
    "drawing_size",
    "enlarged",
    "paint_label_map",
    "paint_masks",
    "picture_colours",
    "resized_image",
    "resized_labels",
    "save_picture",
    "seen_class_colours",
    "sheet",
    "stacked",
]
