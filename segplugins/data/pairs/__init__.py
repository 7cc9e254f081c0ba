"""Image-text pairs: shards of samples to records for a model.

register.py   which files make a set
index.py      where each sample lies
order.py      which comes next
samples.py    the samples of several sets by number
decode.py     bytes to picture, captions, tags and regions
mapper.py     augmentation, to the record that a model reads
"""

from segplugins.data.pairs.decode import Pair, read_pair
from segplugins.data.pairs.mapper import PairMapper
from segplugins.data.pairs.register import KIND, is_pairs, register_pairs
from segplugins.data.pairs.samples import PairSamples, load_pairs

__all__ = [
    "KIND",
    "Pair",
    "PairMapper",
    "PairSamples",
    "is_pairs",
    "load_pairs",
    "read_pair",
    "register_pairs",
]
