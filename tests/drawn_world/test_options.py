"""Options that make no world."""

import pytest

from segplugins.drawn_world import WorldOptions


def test_what_is_left_out_follows_the_rest():
    options = WorldOptions(train=7, val=3)
    assert (options.val_unseen, options.pairs) == (3, 7)
    nothing_hidden = WorldOptions(train=7, val=3, unseen=(), unseen_pairs=())
    assert nothing_hidden.val_unseen == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"train": -1}, "train is -1; expected 0 to"),
        ({"height": 31}, "height is 31; expected 32 to 2048"),
        ({"width": 4096}, "width is 4096"),
        ({"height": 64, "width": 512}, "64x512: one side is more than 4 times"),
        ({"seed": -1}, "seed is -1"),
        ({"shard": 0}, "shard is 0; expected 1"),
        ({"unseen": (), "unseen_pairs": (), "val_unseen": 2}, "no class or pair is unseen"),
        ({"classes": ("sky", "grass", "car")}, "'car' has nowhere to appear: no landscape of"),
        ({"classes": ("sky", "road", "car")}, r"no landscape can be made of \['sky', 'road'\]"),
        ({"unseen": ("sea",)}, "'boat' has nowhere to appear"),
    ],
)
def test_options_that_make_no_world_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        WorldOptions(**{"train": 2, "val": 2, **asked})
