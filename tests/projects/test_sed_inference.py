"""Early rejection, class chunks, result maps and sliding windows."""

import pytest
import torch

from benchmarks.sed.plain import plain_logits, plain_rejection
from benchmarks.sed.scenes import SMALL, draw_scene
from segplugins.modeling.windows import windows
from segplugins.projects.sed.chunks import Decoding
from segplugins.projects.sed.decoder import score
from segplugins.projects.sed.maps import label_map, resize, score_map
from segplugins.projects.sed.rejection import FirstScores, RunningTopK
from segplugins.projects.sed.sliding import WindowedDecoding

CLASSES = 24
EVERYTHING = slice(None)


@pytest.fixture(scope="module")
def scene():
    """24 classes of which early rejection drops some at every stage."""
    scene = draw_scene(CLASSES, 4, SMALL)
    return scene._replace(dense=torch.randn(1, SMALL.embed_dim, 4, 4))


def test_running_top_k_finds_the_same_classes_in_chunks_as_at_once():
    scores = torch.randn(40, 5, 6)
    best = RunningTopK(3)
    for classes in torch.arange(40).split(7):
        best.add(scores[classes], classes)
    # The definition, pixel by pixel.
    expected = {
        index
        for pixel in scores.flatten(1).T.tolist()
        for index in sorted(range(40), key=lambda i: -pixel[i])[:3]
    }
    assert best.union().tolist() == sorted(expected)


def test_k_below_one_is_refused(scene):
    with pytest.raises(ValueError, match="got k = 0"):
        scene.decode(top_k=0)


def test_the_first_scores_are_those_of_the_head_on_the_embedding(scene):
    cost = scene.cost()
    with torch.no_grad():
        rows = scene.decoder.start(cost[None])
        head = score(scene.decoder.rejection_heads[0], rows.features)[0]
        # Borders included, where both convolutions pad with zeros.
        torch.testing.assert_close(FirstScores(scene.decoder)(cost), head, rtol=0, atol=1e-5)


def test_nothing_of_a_rejected_class_is_computed(scene, monkeypatch):
    embedded = []
    start = type(scene.decoder).start

    def counted(decoder, cost):
        embedded.append(cost.shape[1])
        return start(decoder, cost)

    monkeypatch.setattr(type(scene.decoder), "start", counted)
    decoding = scene.decode(top_k=1)
    assert embedded == [decoding.rejections[0]]
    assert decoding.rejections[0] < CLASSES


@pytest.mark.parametrize("chunk", [0, 1, 5, 10, CLASSES])
@pytest.mark.parametrize("k", [1, 2])
def test_rejection_is_that_of_the_papers_order_of_work_in_any_chunks(scene, k, chunk):
    plain, counts = plain_rejection(scene.decoder, scene.cost(), scene.skips, k)
    decoding = scene.decode(top_k=k, chunk=chunk)
    assert decoding.rejections == counts
    assert CLASSES > counts[0] >= counts[1] >= counts[2]  # nested
    kept = torch.cat(
        [decoding.probabilities(slice(i, i + 1)) for i in range(len(decoding.classes))]
    )
    torch.testing.assert_close(kept, plain[decoding.classes], rtol=0, atol=1e-5)
    rejected = [i for i in range(CLASSES) if i not in decoding.classes]
    assert plain[rejected].eq(0).all()


@pytest.mark.parametrize("k", [CLASSES, CLASSES + 1, 10**9])
def test_k_of_all_classes_or_more_rejects_nothing(scene, k):
    decoding, full = scene.decode(top_k=k), scene.decode()
    assert decoding.rejections == [] and decoding.classes.tolist() == list(range(CLASSES))
    assert torch.equal(decoding.probabilities(EVERYTHING), full.probabilities(EVERYTHING))


@pytest.mark.parametrize("chunk", [1, 7, CLASSES - 1])
def test_chunks_give_what_all_classes_at_once_give(scene, chunk):
    plain = plain_logits(scene.decoder, scene.cost(), scene.skips).sigmoid()
    decoding = scene.decode(chunk=chunk)
    for start in range(0, CLASSES, chunk):
        part = slice(start, start + chunk)
        torch.testing.assert_close(decoding.probabilities(part), plain[part], rtol=0, atol=1e-5)


def test_classes_decoded_in_groups_of_their_own_give_another_result(scene):
    # What chunks must not do, or the test above would prove nothing.
    alone = scene._replace(text=scene.text[:7]).decode().probabilities(EVERYTHING)
    together = scene.decode().probabilities(slice(0, 7))
    assert (alone - together).abs().max() > 1e-3


def test_softmax_attention_is_chunked_exactly_too(scene):
    for stage in scene.decoder.stages:
        stage.classes.linear = False
    try:
        whole = scene.decode().probabilities(slice(0, 5))
        parts = scene.decode(chunk=5).probabilities(slice(0, 5))
    finally:
        for stage in scene.decoder.stages:
            stage.classes.linear = True
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


def test_no_more_than_a_chunk_of_classes_has_features(scene, monkeypatch):
    most = []
    start = type(scene.decoder).start

    def counted(decoder, cost):
        most.append(cost.shape[1])
        return start(decoder, cost)

    monkeypatch.setattr(type(scene.decoder), "start", counted)
    label_map(scene.decode(chunk=5), torch.arange(CLASSES), (16, 16))
    assert max(most) == 5
    # Every class once to sum up each of three stages, and once for the result.
    assert sum(most) == 4 * CLASSES


def test_a_negative_chunk_is_refused(scene):
    with pytest.raises(ValueError, match="0 for no bound, got -1"):
        scene.decode(chunk=-1)


class Given:
    """Probabilities that are simply there."""

    def __init__(self, classes, maps, chunk):
        self.classes, self.maps, self.chunk = torch.tensor(classes), maps, chunk
        self.device = maps.device

    def probabilities(self, part):
        return self.maps[part]


def test_scores_are_upsampled_as_probabilities_and_zero_where_rejected(monkeypatch):
    maps = torch.rand(3, 4, 4)
    order = torch.tensor([2, 0, 4, 1, 3])  # what the result calls the decoder's classes
    monkeypatch.setattr("segplugins.projects.sed.maps._ELEMENTS", 2 * 6 * 9)  # two maps at a time
    result = score_map(Given([0, 3, 4], maps, 2), order, (6, 9))
    expected = torch.zeros(5, 6, 9)
    expected[[2, 1, 3]] = resize(maps, (6, 9))
    assert torch.equal(result, expected)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_a_label_map_is_the_argmax_of_the_scores_without_them(chunk):
    maps = torch.rand(5, 4, 4)
    maps[3] = maps[1]  # of equals the first wins
    given, order = Given(list(range(5)), maps, chunk), torch.arange(5)
    expected = score_map(given, order, (8, 8)).argmax(dim=0)
    assert torch.equal(label_map(given, order, (8, 8)), expected)
    renamed = torch.tensor([4, 3, 2, 1, 0])
    assert torch.equal(label_map(given, renamed, (8, 8)), 4 - expected)


@pytest.mark.parametrize(
    ("length", "window", "overlap", "starts"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 6, 7]),  # the last one moved inside
        (9, 3, 1 / 3, [0, 2, 4, 6]),
        (10, 10, 0.5, [0]),
        (6, 10, 0.5, [0]),  # smaller than a window: one of its own size
        (8, 4, 0.0, [0, 4]),
    ],
)
def test_windows_cover_the_image_and_the_last_lies_inside(length, window, overlap, starts):
    found = windows((length, 5), (window, 5), overlap)
    assert [place.top for place in found] == starts
    assert all(place.height == min(window, length) and place.width == 5 for place in found)
    covered = torch.zeros(length, 5)
    for place in found:
        place.crop(covered).add_(1)
    assert covered.min() >= 1


def test_an_overlap_of_one_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1"):
        windows((4, 4), (2, 2), 1)


def test_windows_are_averaged_and_a_rejected_class_counts_zero():
    # Two windows of 4 columns over 6: columns 2 and 3 are seen twice.
    places = windows((4, 6), (4, 4), 0.5)
    assert [place.left for place in places] == [0, 2]
    first = Given([0, 2], torch.stack([torch.full((2, 2), 0.8), torch.full((2, 2), 0.4)]), 4)
    second = Given([2], torch.full((1, 2, 2), 0.6), 4)
    average = WindowedDecoding([first, second], places, (4, 6))
    assert average.classes.tolist() == [0, 2]
    maps = average.probabilities(slice(0, 2))
    expected = torch.tensor([[0.8, 0.8, 0.4, 0.4, 0.0, 0.0], [0.4, 0.4, 0.5, 0.5, 0.6, 0.6]])
    torch.testing.assert_close(maps, expected[:, None].expand(2, 4, 6))
    assert torch.equal(average.probabilities(slice(1, 2)), maps[1:])


def test_one_window_over_the_image_is_the_image(scene):
    whole = scene.decode(top_k=2)
    size = whole.probabilities(EVERYTHING).shape[-2:]
    average = WindowedDecoding([whole], windows(size, size, 1 / 3), size)
    order = torch.arange(CLASSES)
    torch.testing.assert_close(score_map(average, order, size), score_map(whole, order, size))


def test_a_text_bank_may_be_mapped_from_a_file(tmp_path, scene):
    mapped = draw_scene(CLASSES, 4, SMALL, bank=str(tmp_path / "bank"))
    inner = draw_scene(CLASSES, 4, SMALL)
    assert torch.equal(
        mapped.decode(2, 5).probabilities(slice(0, 5)),
        inner.decode(2, 5).probabilities(slice(0, 5)),
    )


@pytest.mark.gpu
def test_decoding_on_a_gpu_keeps_the_same_classes(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    cuda = draw_scene(CLASSES, 4, SMALL, "cuda")
    cpu = draw_scene(CLASSES, 4, SMALL)
    on_gpu = cuda.decode(2, 10)
    assert on_gpu.rejections == cpu.decode(2, 10).rejections
    torch.testing.assert_close(
        on_gpu.probabilities(slice(0, 10)).cpu(),
        cpu.decode(2, 10).probabilities(slice(0, 10)),
        rtol=0,
        atol=1e-3,
    )


@pytest.mark.parametrize("chunk", [0, 5])
def test_votes_are_added_to_the_cosines_of_all_prompts_of_a_class(scene, chunk):
    torch.manual_seed(1)
    votes = 0.3 * torch.rand(CLASSES, *scene.dense.shape[-2:])
    cost = scene.cost() + votes[:, None]
    with torch.no_grad():
        expected = plain_logits(scene.decoder, cost, scene.skips).sigmoid()
    decoding = Decoding(
        scene.decoder, scene.dense, scene.skips, scene.text, chunk=chunk, top_k=None, votes=votes
    )
    step = chunk or CLASSES
    maps = [decoding.probabilities(slice(i, i + step)) for i in range(0, CLASSES, step)]
    torch.testing.assert_close(torch.cat(maps), expected, rtol=0, atol=1e-5)
    plain, counts = plain_rejection(scene.decoder, cost, scene.skips, 1)
    decoding = Decoding(
        scene.decoder, scene.dense, scene.skips, scene.text, chunk=chunk, top_k=1, votes=votes
    )
    assert decoding.rejections == counts
