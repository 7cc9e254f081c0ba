"""UMG-41M: captions, tags and boxes with captions of 41 M images (Table 1 of UMG-CLIP).

Its annotations are published without the images. What is read are image-text shards.
"""

from segplugins.data.pairs import register_pairs

register_pairs(
    "umg_41m",
    "umg_41m/*.tar",
    licence="annotations CC BY 4.0; images by their own terms",
)
