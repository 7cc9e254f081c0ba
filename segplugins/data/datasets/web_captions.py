"""Images of the web with captions, as img2dataset writes them: tars of .jpg and .txt.

Links die, so that no two copies of such a set are the same; the number of samples is what the tars
hold.
"""

from segplugins.data.pairs import register_pairs

_LICENCE = "links and captions by the set's terms; images by those of their sites"

for _name, _folder in (("cc3m", "cc3m"), ("cc12m", "cc12m"), ("yfcc14m", "yfcc14m")):
    register_pairs(f"{_name}_captions", f"{_folder}/*.tar", captions_only=True, licence=_LICENCE)
