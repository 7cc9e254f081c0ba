import pytest
import torch

from segplugins.clip import load_clip
from segplugins.modeling.normalizer import ImageNormalizer

MEAN, STD = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]


def record(height, width, value=0):
    return {"image": torch.full((3, height, width), value, dtype=torch.uint8)}


def test_pixels_are_shifted_and_scaled_per_channel():
    normalized = ImageNormalizer(MEAN, STD)([record(2, 3, 50)]).tensor
    # (50 - 10) / 1, (50 - 20) / 2, (50 - 30) / 4
    expected = torch.tensor([40.0, 15.0, 5.0]).view(1, 3, 1, 1).expand(1, 3, 2, 3)
    torch.testing.assert_close(normalized, expected)


def test_a_batch_is_padded_to_a_multiple_with_the_mean_colour():
    batch = ImageNormalizer(MEAN, STD, divisibility=4)([record(3, 5, 50), record(6, 2, 50)])
    assert batch.tensor.shape == (2, 3, 8, 8)  # 6 and 5, up to multiples of 4
    assert batch.image_sizes == [(3, 5), (6, 2)]
    for image, (height, width) in zip(batch.tensor, batch.image_sizes):
        assert image[:, :height, :width].ne(0).all()
        assert image[:, height:].eq(0).all() and image[:, :, width:].eq(0).all()


def test_statistics_move_with_the_model_and_stay_out_of_its_checkpoint():
    normalizer = ImageNormalizer(MEAN, STD)
    assert normalizer.state_dict() == {}
    assert normalizer.to("meta").device.type == "meta"


@pytest.mark.parametrize("shape", [(5, 5), (1, 5, 5), (5, 5, 3), (3, 0, 5)])
def test_an_image_that_is_not_rgb_with_channels_first_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(3, H, W\)"):
        ImageNormalizer(MEAN, STD)([{"image": torch.zeros(shape)}])


def test_the_statistics_of_a_clip_are_brought_to_its_images_scale():
    towers = load_clip("convnext_drawn")
    normalizer = ImageNormalizer.of_clip(towers, 4)
    # A picture of CLIP's mean colour is 0, one a deviation above it 1.
    colour = 255 * torch.tensor([towers.image_mean, towers.image_std]).cumsum(dim=0)
    records = [{"image": channels[:, None, None].expand(3, 4, 8)} for channels in colour]
    batch = normalizer(records).tensor
    torch.testing.assert_close(batch[0], torch.zeros(3, 4, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch[1], torch.ones(3, 4, 8), atol=1e-5, rtol=0)
    assert normalizer.divisibility == 4


def test_statistics_of_another_scale_or_count_are_refused():
    with pytest.raises(ValueError, match="three values"):
        ImageNormalizer([1.0], [1.0])
    with pytest.raises(ValueError, match="std above 0"):
        ImageNormalizer(MEAN, [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="divisibility must be at least 1, got 0"):
        ImageNormalizer(MEAN, STD, divisibility=0)
