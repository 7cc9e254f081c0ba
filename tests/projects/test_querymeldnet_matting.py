"""Matting: trimaps, the guided filter, the small network, and the command."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from segplugins.evaluation.matting import matting_errors
from segplugins.projects.querymeldnet import matting
from segplugins.projects.querymeldnet.matting import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    GuidedFilter,
    band_radius,
    box_mean,
    refined_alpha,
    trimap_of_mask,
    write_mattes,
)
from segplugins.projects.querymeldnet.matting_network import (
    MattingNetwork,
    StripBlock,
    load_matting_network,
    matting_loss,
)


def square(size=(40, 50), box=(10, 8, 30, 28)):
    mask = torch.zeros(size, dtype=torch.bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


def soft_object(size=(48, 64), centre=(24, 32), radius=14.0, width=6.0):
    """Image, true alpha and mask: a red disc whose edge fades into blue over `width` pixels."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    distance = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2).float().sqrt()
    alpha = ((radius - distance) / width + 0.5).clamp(0, 1)
    red, blue = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.8])
    image = alpha * red[:, None, None] + (1 - alpha) * blue[:, None, None]
    return image, alpha, alpha > 0.5


# --- trimap


def test_the_band_is_a_share_of_the_diagonal_of_the_box():
    mask = square(box=(10, 8, 40, 28))  # 30 x 20 pixels
    assert band_radius(mask, 0.1) == round(0.1 * math.hypot(30, 20)) == 4
    assert band_radius(mask, 0.001) == 1
    assert band_radius(torch.zeros(4, 4, dtype=torch.bool), 0.5) == 1


def test_the_trimap_is_unknown_up_to_the_radius_on_both_sides_of_the_edge():
    trimap = trimap_of_mask(square(), 3)
    row = trimap[18]  # through the middle; the square covers columns 10 to 29
    expected = [BACKGROUND] * 7 + [UNKNOWN] * 6 + [FOREGROUND] * 14 + [UNKNOWN] * 6
    assert row.tolist() == expected + [BACKGROUND] * 17
    # The disc cuts the corner: (3, 3) pixels off it is further away than 3.
    assert trimap[5, 10] == UNKNOWN and trimap[5, 7] == BACKGROUND


def test_the_border_of_the_image_is_no_edge():
    everything = torch.ones(10, 12, dtype=torch.bool)
    assert (trimap_of_mask(everything, 3) == FOREGROUND).all()
    assert (trimap_of_mask(~everything, 3) == BACKGROUND).all()


# --- guided filter


@pytest.mark.parametrize("radius", [1, 3, 20])
def test_means_over_windows_are_cut_at_the_border(radius):
    torch.manual_seed(0)
    maps = torch.rand(2, 7, 9, dtype=torch.float64)
    means = box_mean(maps, radius)
    for y in range(7):
        for x in range(9):
            window = maps[
                :, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1
            ]
            torch.testing.assert_close(means[:, y, x], window.mean(dim=(1, 2)))


def test_the_guided_filter_finds_the_alpha_of_a_fading_edge():
    image, truth, mask = soft_object()
    trimap = trimap_of_mask(mask, 5)
    alpha = GuidedFilter()(image, trimap)
    band = (trimap == UNKNOWN).numpy()
    errors = matting_errors(alpha.numpy(), truth.numpy(), band)
    of_mask = matting_errors(mask.numpy().astype(float), truth.numpy(), band)
    # Colours are a linear function of alpha, so little but epsilon stands between the two.
    assert errors["MSE"] < 1e-3 < 0.02 < of_mask["MSE"]
    assert errors["SAD"] < 0.2 * of_mask["SAD"] and errors["Grad"] < 0.2 * of_mask["Grad"]


def test_where_colours_say_nothing_alpha_is_between():
    mask = square()
    alpha = GuidedFilter(radius=6)(torch.full((3, 40, 50), 0.5), trimap_of_mask(mask, 3))
    assert ((alpha >= 0) & (alpha <= 1)).all()
    inside, edge, outside = alpha[18, 20], alpha[18, 10], alpha[18, 1]
    assert inside > edge > outside


def test_far_from_certain_pixels_windows_grow_and_without_any_alpha_is_a_half():
    image = torch.zeros(3, 40, 60)
    image[0, :, 30:] = 1.0  # the right half is red, as is what certainly belongs to the object
    trimap = torch.full((40, 60), UNKNOWN)
    trimap[:, :3], trimap[:, -3:] = BACKGROUND, FOREGROUND
    alpha = GuidedFilter(radius=2)(image, trimap)
    assert (alpha[:, :25] < 0.1).all() and (alpha[:, 35:] > 0.9).all()
    nothing_certain = torch.full((40, 60), UNKNOWN)
    assert (GuidedFilter(radius=2)(image, nothing_certain) == 0.5).all()


@pytest.mark.parametrize("options", [{"radius": 0}, {"epsilon": 0.0}])
def test_options_of_the_filter_are_above_0(options):
    with pytest.raises(ValueError, match="radius must be at least 1 and epsilon above 0"):
        GuidedFilter(**options)


# --- masks to mattes


def test_outside_of_the_band_the_mask_decides():
    image, _, mask = soft_object()
    alpha = refined_alpha(image, mask, lambda image, trimap: torch.full(mask.shape, 0.25), 0.1)
    trimap = trimap_of_mask(mask, band_radius(mask, 0.1))
    assert (alpha[trimap == UNKNOWN] == 0.25).all()
    assert (alpha[trimap == FOREGROUND] == 1).all() and (alpha[trimap == BACKGROUND] == 0).all()


def test_an_empty_mask_is_an_empty_matte_and_asks_nobody():
    empty = torch.zeros(8, 8, dtype=torch.bool)
    assert not refined_alpha(torch.rand(3, 8, 8), empty, None, 0.1).any()


def test_masks_of_another_size_and_odd_bands_are_named():
    with pytest.raises(ValueError, match=r"mask \(8, 9\) for an image \(8, 8\)"):
        refined_alpha(torch.rand(3, 8, 8), torch.zeros(8, 9, dtype=torch.bool), None, 0.1)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\), got 1.5"):
        refined_alpha(torch.rand(3, 8, 8), torch.zeros(8, 8, dtype=torch.bool), None, 1.5)


def test_a_matte_and_a_cut_out_of_each_mask_are_written(tmp_path):
    image, truth, mask = soft_object()
    pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
    masks = np.stack([mask.numpy(), np.zeros(mask.shape, bool)])
    written = write_mattes(
        tmp_path / "cat.jpg", masks, pixels, tmp_path / "new", refiner=GuidedFilter(), share=0.1
    )
    assert [path.name for path in written] == [
        "cat.alpha0.png", "cat.cutout0.png", "cat.alpha1.png", "cat.cutout1.png",
    ]  # fmt: skip
    alpha, cutout = (np.asarray(Image.open(path)) for path in written[:2])
    assert np.abs(alpha / 255 - truth.numpy()).mean() < 0.01
    assert (cutout[..., :3] == pixels).all() and (cutout[..., 3] == alpha).all()
    assert not np.asarray(Image.open(written[2])).any()


# --- the network


def test_the_network_answers_any_size_and_only_the_band():
    torch.manual_seed(0)
    network = MattingNetwork(8).eval()
    for size in ((48, 64), (33, 70), (1, 9)):
        trimaps = torch.randint(0, 3, (2, *size))
        with torch.no_grad():
            alpha = network(torch.rand(2, 3, *size), trimaps)
        assert alpha.shape == (2, *size) and ((alpha >= 0) & (alpha <= 1)).all()
        assert (alpha[trimaps == FOREGROUND] == 1).all()
        assert (alpha[trimaps == BACKGROUND] == 0).all()


def test_strips_see_five_rows_and_five_columns():
    torch.manual_seed(0)
    block = StripBlock(8, 2, 3).eval()
    x = torch.randn(1, 8, 12, 13)
    appearance = torch.randn(1, 3, 12, 13)
    changed = x.clone()
    changed[0, :, 6, 7] += torch.randn(8)
    with torch.no_grad():
        moved = (block(x, appearance) - block(changed, appearance)).abs().sum(dim=1)[0] > 1e-6
    rows, columns = moved.any(dim=1), moved.any(dim=0)
    assert rows.all() and columns.all()
    outside = moved.clone()
    outside[5:10] = False  # the strip of rows of row 6
    outside[:, 5:10] = False  # the strip of columns of column 7
    assert not outside.any()


def test_the_appearance_map_comes_in_by_a_gate_that_starts_closed():
    torch.manual_seed(0)
    block = StripBlock(8, 2, 3).eval()
    x, appearance = torch.randn(1, 8, 6, 6), torch.randn(1, 3, 6, 6)
    assert torch.equal(block(x, appearance), block(x, 2 * appearance))
    torch.nn.init.constant_(block.gate, 0.5)
    assert not torch.equal(block(x, appearance), block(x, 2 * appearance))


def test_the_network_learns_a_matte():
    torch.manual_seed(0)
    image, truth, mask = soft_object()
    trimaps = trimap_of_mask(mask, 5)[None]
    network = MattingNetwork(8).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    first = None
    for _ in range(60):
        optimizer.zero_grad()
        alpha = network(image[None], trimaps)
        loss = sum(matting_loss(alpha, truth[None], trimaps).values())
        first = loss.item() if first is None else first
        loss.backward()
        optimizer.step()
    band = (trimaps[0] == UNKNOWN).numpy()
    with torch.no_grad():
        alpha = network.eval()(image[None], trimaps)
    errors = matting_errors(alpha[0].numpy(), truth.numpy(), band)
    of_mask = matting_errors(mask.numpy().astype(float), truth.numpy(), band)
    assert loss.item() < 0.5 * first and errors["SAD"] < of_mask["SAD"]


def test_every_parameter_of_the_network_is_trained():
    torch.manual_seed(0)
    network = MattingNetwork(8)
    torch.nn.init.constant_(network.strips[0].gate, 0.1)
    image, truth, mask = soft_object()
    trimaps = trimap_of_mask(mask, 5)[None]
    sum(matting_loss(network(image[None], trimaps), truth[None], trimaps).values()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_losses_of_mattes_by_hand():
    truth = torch.zeros(1, 32, 32)
    trimaps = torch.full((1, 32, 32), UNKNOWN)
    trimaps[:, :16] = BACKGROUND
    alpha = truth.clone()
    alpha[:, 16:] = 0.2
    losses = matting_loss(alpha, truth, trimaps)
    assert losses["loss_l1"].item() == pytest.approx(0.5 * 0.2)
    assert losses["loss_charbonnier"].item() == pytest.approx(0.5 * 0.2, rel=1e-4)
    assert losses["loss_laplacian"] > 0
    assert sum(matting_loss(truth, truth, trimaps).values()).item() == pytest.approx(0, abs=1e-5)
    # Of a constant difference only the coarsest of the five levels knows.
    flat = matting_loss(truth + 0.25, truth, torch.full((1, 32, 32), UNKNOWN))
    assert flat["loss_laplacian"].item() == pytest.approx(0.5 * 2**4 * 0.25, rel=1e-4)


def test_weights_tell_their_width_and_others_are_refused(tmp_path):
    torch.manual_seed(0)
    network = MattingNetwork(16).eval()
    torch.save(network.state_dict(), tmp_path / "matting.pth")
    refiner = load_matting_network(tmp_path / "matting.pth")
    image, _, mask = soft_object()
    trimap = trimap_of_mask(mask, 5)
    with torch.no_grad():
        assert torch.equal(refiner(image, trimap), network(image[None], trimap[None])[0])
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth holds no weights of a matting network"):
        load_matting_network(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="width must be a multiple of 8, got 12"):
        MattingNetwork(12)


# --- the command


def test_the_command_refines_the_masks_of_its_prompts(tmp_path, monkeypatch):
    image, _, mask = soft_object()
    Image.fromarray((255 * image).byte().permute(1, 2, 0).numpy()).save(tmp_path / "cat.png")

    class Answer:
        names = ("a disc", "nothing")

        def mask(self, name):
            return mask.numpy() if name == "a disc" else np.zeros(mask.shape, bool)

    def load(config, options):
        assert config == "c.yaml" and options == ["MODEL.WEIGHTS", "w.pth"]
        return lambda picture, prompts: Answer()

    monkeypatch.setattr("segplugins.prediction.loading.load", load)
    words = ["--input", str(tmp_path / "cat.png"), "--output", str(tmp_path / "out")]
    words += ["--prompt", "a disc", "--prompt", "nothing", "--band", "0.1"]
    words += ["--config-file", "c.yaml", "MODEL.WEIGHTS", "w.pth"]
    matting.main(matting.parser().parse_args(words))
    alpha = np.asarray(Image.open(tmp_path / "out" / "cat.alpha0.png"))
    assert ((alpha > 0) & (alpha < 255)).sum() > 100
    assert not np.asarray(Image.open(tmp_path / "out" / "cat.alpha1.png")).any()
