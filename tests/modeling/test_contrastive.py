"""Contrastive losses: the formula by hand, and the same loss and gradient on any processes."""

import math
import multiprocessing

import pytest
import torch
import torch.distributed as dist
from torch.nn import functional as F

from segplugins.modeling.contrastive import (
    contrastive,
    gather_rows,
    mean_over_processes,
    text_labels,
)

SCALE = torch.tensor(10.0)


def test_two_pairs_by_hand():
    # Unit vectors at right angles: s = 2 on the diagonal, 0 beside it, in both directions.
    a = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    loss = contrastive(a, 3 * a, torch.tensor(2.0))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_with_pairs_it_is_clips_loss():
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    logits = 10 * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    target = torch.arange(5)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(contrastive(a, b, SCALE), expected)


def test_several_positives_share_the_target():
    """Soft targets: 1 / number of positives, in both directions; rows without any do not count."""
    a, b = torch.randn(4, 8), torch.randn(3, 8)
    positives = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=torch.bool)
    logits = 10 * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    of_a = torch.tensor([[0.5, 0.5, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]])
    of_b = torch.tensor([[0.5, 0, 0.5, 0], [1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 1, 0]])
    expected = (F.cross_entropy(logits[:3], of_a) + F.cross_entropy(logits.T, of_b)) / 2
    torch.testing.assert_close(contrastive(a, b, SCALE, positives), expected)


def test_twins_are_positive_to_what_either_is_positive_to():
    a, b = torch.randn(3, 8), torch.randn(3, 8)
    labels = text_labels(["a cat", "a dog", "a cat"], torch.device("cpu"))
    assert labels[0] == labels[2] != labels[1]
    twins = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    torch.testing.assert_close(
        contrastive(a, b, SCALE, torch.eye(3, dtype=torch.bool), labels=labels),
        contrastive(a, b, SCALE, twins),
    )


def test_nothing_positive_is_a_zero_loss_with_a_gradient():
    a = torch.randn(2, 8, requires_grad=True)
    loss = contrastive(a, torch.randn(3, 8), SCALE, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0 and (a.grad == 0).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 and 3 rows are no pairs"):
        contrastive(torch.randn(2, 8), torch.randn(3, 8), SCALE)
    with pytest.raises(ValueError, match=r"positives has shape \(3, 2\), not \(2, 3\)"):
        contrastive(torch.randn(2, 8), torch.randn(3, 8), SCALE, torch.ones(3, 2))


def test_it_is_computed_in_float32_under_autocast():
    a, b = torch.randn(5, 8), torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive(a, b, SCALE)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, contrastive(a, b, SCALE))


# Two processes. Of 5 images and 6 texts the first gets 3 and 2, the second 2 and 4.

IMAGES, TEXTS = (3, 2), (2, 4)
NAMES = ["a cat", "the sea", "a dog", "a cat", "grass", "the sea"]


def case():
    """Embeddings, positives within the processes' blocks, and labels, of the whole batch."""
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 8, generator=draw), torch.randn(6, 8, generator=draw)
    positives = torch.zeros(5, 6, dtype=torch.bool)
    positives[:3, :2] = torch.tensor([[1, 0], [1, 1], [0, 0]])
    positives[3:, 2:] = torch.tensor([[0, 1, 0, 0], [1, 0, 1, 1]])
    return a, b, positives, text_labels(NAMES, a.device)


def part(rank, use_labels):
    """Loss and gradients of one process."""
    a, b, positives, labels = case()
    rows = slice(sum(IMAGES[:rank]), sum(IMAGES[: rank + 1]))
    columns = slice(sum(TEXTS[:rank]), sum(TEXTS[: rank + 1]))
    a, b = a[rows].requires_grad_(), b[columns].requires_grad_()
    scale = torch.tensor(10.0, requires_grad=True)
    labels = labels[columns] if use_labels else None
    loss = contrastive(a, b, scale, positives[rows, columns], labels=labels)
    loss.backward()
    return loss.detach(), a.grad, b.grad, scale.grad


# Sums and numbers of rows of the two processes: uneven, none on one of them, none at all.
MEANS = [((4.0, 20.0), (2, 4)), ((0.0, 6.0), (0, 3)), ((0.0, 0.0), (0, 0))]


def empty_rank(rank):
    """Loss and gradient where the first process has neither images nor texts, nor a gradient."""
    a, b, positives, _ = case()
    if rank == 0:
        none = torch.zeros(0, 8)
        a = none.requires_grad_()  # what a model gives for no image; texts come from nowhere
        loss = contrastive(a, torch.zeros(0, 8), SCALE, torch.zeros(0, 0, dtype=torch.bool))
        loss.backward()
        return loss.detach(), a.grad
    a, b = a.requires_grad_(), b.requires_grad_()
    loss = contrastive(a, b, SCALE, positives)
    loss.backward()
    return loss.detach(), a.grad, b.grad


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(IMAGES)
    )
    gathered = gather_rows(torch.full((rank + 1, 2), float(rank)))
    results = {
        "gathered": gathered,
        "labels": part(rank, use_labels=True),
        "no labels": part(rank, use_labels=False),
        "empty": empty_rank(rank),
        "nobody": gather_rows(torch.zeros(0, 2)).shape,
        "no pairs": contrastive(torch.zeros(0, 2), torch.zeros(0, 2), SCALE),
        "means": [
            mean_over_processes(torch.tensor(totals[rank]), rows[rank]) for totals, rows in MEANS
        ],
    }
    torch.save(results, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What each of two processes found. They are forked: nothing here needs a fresh interpreter."""
    folder = tmp_path_factory.mktemp("gloo")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


def test_rows_are_joined_in_the_order_of_the_ranks(outcome):
    for rank in range(2):
        expected = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
        assert torch.equal(outcome[rank]["gathered"], expected)


def test_a_process_without_rows_neither_hangs_nor_changes_the_others(outcome):
    a, b, positives, _ = case()
    a, b = a.requires_grad_(), b.requires_grad_()
    loss = contrastive(a, b, SCALE, positives)
    loss.backward()
    (none, no_grad), (found, *gradients) = (part["empty"] for part in outcome)
    # The mean over processes is the loss; the process with all the rows carries it alone.
    assert none == 0 and no_grad.shape == (0, 8)
    torch.testing.assert_close(found / 2, loss.detach())
    for gradient, expected in zip(gradients, (a.grad, b.grad)):
        torch.testing.assert_close(gradient / 2, expected, atol=1e-6, rtol=1e-4)


def test_a_mean_over_processes_weighs_every_row_alike(outcome):
    first, second = (part["means"] for part in outcome)
    # The mean over the processes, which is what gradients are: 24 / 6, 6 / 3 and nothing.
    assert [((a + b) / 2).item() for a, b in zip(first, second)] == pytest.approx([4.0, 2.0, 0.0])
    assert first[1] == 0


def test_without_rows_anywhere_there_is_nothing_to_join(outcome):
    for found in outcome:
        assert found["nobody"] == (0, 2) and found["no pairs"] == 0


@pytest.mark.parametrize("kind", ["labels", "no labels"])
def test_two_processes_give_the_loss_and_gradient_of_one(outcome, kind):
    a, b, positives, labels = case()
    a, b = a.requires_grad_(), b.requires_grad_()
    scale = torch.tensor(10.0, requires_grad=True)
    loss = contrastive(a, b, scale, positives, labels=labels if kind == "labels" else None)
    loss.backward()
    losses, grads_a, grads_b, grads_scale = zip(*(found[kind] for found in outcome))
    # DistributedDataParallel averages what the processes have.
    torch.testing.assert_close(torch.stack(losses).mean(), loss.detach())
    torch.testing.assert_close(torch.cat(grads_a) / 2, a.grad, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(torch.cat(grads_b) / 2, b.grad, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(torch.stack(grads_scale).mean(), scale.grad, atol=1e-6, rtol=1e-4)


def test_labels_find_positives_on_another_process():
    """So the two kinds above are two cases: "a cat" and "the sea" stand on both processes."""
    a, b, positives, labels = case()
    with_labels = contrastive(a, b, SCALE, positives, labels=labels)
    assert not torch.isclose(with_labels, contrastive(a, b, SCALE, positives))
