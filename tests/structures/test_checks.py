import pytest
import torch

from segplugins.structures import check_shape


def test_letters_stand_for_any_size_but_always_the_same():
    check_shape("map", torch.zeros(2, 3, 3), (2, "h", "h"))
    with pytest.raises(ValueError, match=r"map has shape \(2, 3, 4\), expected \(2, h, h\)"):
        check_shape("map", torch.zeros(2, 3, 4), (2, "h", "h"))


def test_the_number_of_dimensions_must_fit():
    with pytest.raises(ValueError, match=r"map has shape \(2, 3\), expected \(B, C, 1\)"):
        check_shape("map", torch.zeros(2, 3), ("B", "C", 1))
