"""Image-text pairs: shards of samples to records for a model.

register.py   which files make a set
index.py      where each sample lies
order.py      which comes next
samples.py    the samples of several sets by number
sidecar.py    further facts of a sample, in files of their own
decode.py     bytes to picture, captions, tags and regions
mapper.py     augmentation, to the record that a model reads
"""

from segplugins.data.pairs.decode import Pair, read_pair
from segplugins.data.pairs.mapper import PairMapper
from segplugins.data.pairs.register import KIND, is_pairs, register_pairs
from segplugins.data.pairs.samples import PairSamples, load_pairs
from segplugins.data.pairs.sidecar import SideCars

__all__ = [
    "KIND",
    "Pair",
    "PairMapper",
    "PairSamples",
    "SideCars",
    "is_pairs",
    "load_pairs",
    "read_pair",
    "register_pairs",
]
