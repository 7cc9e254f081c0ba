"""Semantic segmentation metrics against detectron2, a plain re-statement, and by hand."""

from collections import Counter

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image

from segplugins.evaluation.confusion import confusion_matrix
from segplugins.evaluation.folding import ClassFold
from segplugins.evaluation.gallery import Gallery
from segplugins.evaluation.label_maps import (
    area_counts,
    best_class,
    boundary_labels,
    pair_counts,
    sparse_places,
)
from segplugins.evaluation.semantic import SemanticEvaluator
from segplugins.evaluation.semantic_scores import semantic_metrics
from segplugins.files.label_maps import read_label_map


@pytest.fixture
def dataset(tmp_path):
    """Registers label maps as files; returns (name, records)."""
    names = []

    def make(truths, ignore=255):
        name = f"semantic_test_{tmp_path.name}_{len(names)}"
        names.append(name)
        records = []
        for i, truth in enumerate(truths):
            path = tmp_path / f"{name}_{i}.png"
            Image.fromarray(truth.astype(np.uint8 if truth.max() < 256 else np.uint16)).save(path)
            records.append({"file_name": f"image_{i}.jpg", "sem_seg_file_name": str(path)})
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(ignore_label=ignore)
        return name, records

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def names_of(count):
    return [f"c{i}" for i in range(count)]


def evaluate(name, records, predictions, classes, **options):
    evaluator = SemanticEvaluator(name, classes, **options)
    for record, prediction in zip(records, predictions):
        evaluator.process([record], [{"sem_seg": prediction}])
    return evaluator.evaluate()["sem_seg"]


def random_maps(generator, classes, ignore, images=2):
    """Label maps in which some classes are absent from the truth, some from the prediction."""
    shape = tuple(generator.integers(1, 9, 2))
    true = generator.choice(classes, generator.integers(1, classes + 1), replace=False)
    guess = generator.choice(classes, generator.integers(1, classes + 1), replace=False)
    for _ in range(images):
        truth = generator.choice(true, shape)
        truth[generator.random(shape) < generator.choice([0, 0.3, 1], p=[0.5, 0.45, 0.05])] = ignore
        yield truth, generator.choice(guess, shape)


def plain_metrics(truths, predictions, classes, ignore):
    """The definitions, class by class and pixel by pixel."""
    truth = np.concatenate([t.ravel() for t in truths])
    guess = np.concatenate([p.ravel() for p in predictions])
    kept = truth != ignore
    truth, guess = truth[kept], guess[kept]
    iou, union_iou, accuracy, weighted = {}, [], [], 0.0
    for c in range(classes):
        both, either = ((truth == c) & (guess == c)).sum(), ((truth == c) | (guess == c)).sum()
        if either:
            union_iou.append(both / either)
        if (truth == c).any():
            iou[c] = both / either
            accuracy.append(both / (truth == c).sum())
            weighted += iou[c] * (truth == c).mean()
    mean = lambda values: np.mean(values) if len(values) else np.nan  # noqa: E731
    expected = {
        "mIoU": mean(list(iou.values())),
        "mIoU_union": mean(union_iou),
        "mACC": mean(accuracy),
        "pACC": mean(truth == guess),
        "fwIoU": weighted,
    }
    expected.update({f"IoU-c{c}": iou.get(c, np.nan) for c in range(classes)})
    return {key: 100 * value for key, value in expected.items()}


def test_200_random_sets_equal_the_definitions():
    generator = np.random.default_rng(0)
    for _ in range(200):
        classes = int(generator.integers(1, 7))
        ignore = int(generator.choice([255, classes, 0]))
        maps = list(random_maps(generator, classes, ignore))
        truths, guesses = zip(*maps)
        fold = ClassFold(classes, ignore_label=ignore)
        confusion = confusion_matrix([(guess, truth) for truth, guess in maps], fold)
        result = semantic_metrics(confusion, names_of(classes))
        for key, value in plain_metrics(truths, guesses, classes, ignore).items():
            assert result[key] == pytest.approx(value, abs=1e-9, nan_ok=True), key


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:detectron2")
def test_files_to_numbers_equal_detectron2(dataset):
    generator = np.random.default_rng(1)
    for classes in (3, 12, 300):
        pairs = [
            (
                generator.integers(0, classes, (20, 30)),
                torch.from_numpy(generator.standard_normal((classes, 20, 30), np.float32)),
            )
            for _ in range(3)
        ]
        for truth, _ in pairs:
            truth[:4] = 65535 if classes > 255 else 255
        ignore = 65535 if classes > 255 else 255
        name, records = dataset([truth for truth, _ in pairs], ignore)
        MetadataCatalog.get(name).stuff_classes = names_of(classes)
        reference = SemSegEvaluator(name)
        reference._compute_boundary_iou = False
        reference.reset()
        reference.process(records, [{"sem_seg": scores} for _, scores in pairs])
        expected = reference.evaluate()["sem_seg"]
        fold = ClassFold(classes, ignore_label=ignore)
        scores = [scores for _, scores in pairs]
        result = evaluate(name, records, scores, names_of(classes), fold=fold)
        assert expected.keys() <= result.keys()
        for key, value in expected.items():
            assert result[key] == pytest.approx(value, abs=1e-9, nan_ok=True), key


def test_a_perfect_prediction_is_100_and_a_wrong_one_0(dataset):
    truth = np.array([[0, 1], [2, 255]])
    name, records = dataset([truth])
    perfect = torch.tensor([[0, 1], [2, 0]])  # what stands on the ignored pixel does not count
    result = evaluate(name, records, [perfect], names_of(3))
    metrics = ("mIoU", "mIoU_union", "mACC", "pACC", "fwIoU")
    assert [result[metric] for metric in metrics] == [100.0] * 5
    result = evaluate(name, records, [torch.tensor([[1, 2], [0, 0]])], names_of(3))
    assert [result[metric] for metric in metrics] == [0.0] * 5


def test_a_class_predicted_but_never_true_lowers_only_the_union_mean(dataset):
    # One pixel of four is called class 1, which does not occur: IoU of class 0 is 3/4.
    name, records = dataset([np.zeros((2, 2), int)])
    result = evaluate(name, records, [torch.tensor([[0, 0], [0, 1]])], names_of(3))
    assert result["mIoU"] == pytest.approx(75.0)
    assert result["mIoU_union"] == pytest.approx((75.0 + 0.0) / 2)
    assert np.isnan(result["IoU-c1"]) and np.isnan(result["IoU-c2"])


def test_without_a_labelled_pixel_there_is_no_number(dataset):
    name, records = dataset([np.full((2, 3), 255)])
    result = evaluate(name, records, [torch.zeros(2, 3, dtype=torch.int64)], names_of(2))
    assert all(np.isnan(result[key]) for key in ("mIoU", "mIoU_union", "mACC", "pACC", "IoU-c0"))
    assert result["fwIoU"] == 0.0  # an empty sum, as detectron2 has it


def test_an_empty_data_set_gives_no_number_and_no_error(dataset):
    name, records = dataset([])
    assert np.isnan(evaluate(name, records, [], names_of(2))["mIoU"])


def test_order_and_batches_do_not_matter(dataset):
    generator = np.random.default_rng(2)
    truths = [generator.integers(0, 4, (9, 11)) for _ in range(7)]
    guesses = [torch.from_numpy(generator.integers(0, 4, (9, 11))) for _ in truths]
    name, records = dataset(truths)
    expected = evaluate(name, records, guesses, names_of(4))
    evaluator = SemanticEvaluator(name, names_of(4))
    order = generator.permutation(7)
    outputs = [{"sem_seg": guess} for guess in guesses]
    for batch in (order[:1], order[1:5], order[5:]):
        evaluator.process([records[i] for i in batch], [outputs[i] for i in batch])
    assert evaluator.evaluate()["sem_seg"] == expected


def test_permuting_the_classes_permutes_the_result(dataset):
    generator = np.random.default_rng(3)
    truth, guess = generator.integers(0, 5, (2, 12, 12))
    order = generator.permutation(5)
    name, records = dataset([truth])
    other, other_records = dataset([order[truth]])
    result = evaluate(name, records, [torch.from_numpy(guess)], names_of(5))
    names = [f"c{i}" for i in np.argsort(order)]
    permuted = evaluate(other, other_records, [torch.from_numpy(order[guess])], names)
    assert permuted == pytest.approx(result, abs=1e-9)


def test_reset_forgets_everything(dataset):
    name, records = dataset([np.zeros((2, 2), int)])
    evaluator = SemanticEvaluator(name, names_of(2), gallery=Gallery())
    outputs = [{"sem_seg": torch.ones(2, 2, dtype=torch.int64)}]
    evaluator.process(records, outputs)
    evaluator.reset()
    assert evaluator.confusion.sum() == 0 and not evaluator.gallery.pictures
    evaluator.process(records, [{"sem_seg": torch.zeros(2, 2, dtype=torch.int64)}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100.0


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (torch.zeros(2, 4, 4), r"image_0.jpg.*has shape \(4, 4\), the truth \(2, 3\)"),
        (torch.zeros(3, 2, 3), "image_0.jpg: the prediction has 3 channels, the vocabulary 2"),
        (torch.full((2, 2, 3), torch.nan), "image_0.jpg: the scores hold NaN"),
        (
            torch.full((2, 2, 3), -torch.inf),
            "image_0.jpg: the scores hold NaN or infin",
        ),
        (torch.full((2, 3), 2), "image_0.jpg: the prediction holds class 2, expected 0 to 1"),
        (torch.full((2, 3), -1), "image_0.jpg: the prediction holds class -1"),
        (torch.zeros(2, 3), "image_0.jpg: the prediction is torch.float32"),
        (torch.zeros(2, 2, 3, dtype=torch.int64), "image_0.jpg: the prediction is torch.int64"),
    ],
)
def test_a_prediction_that_cannot_be_counted_names_the_image(dataset, prediction, message):
    name, records = dataset([np.zeros((2, 3), int)])
    with pytest.raises(ValueError, match=message):
        SemanticEvaluator(name, names_of(2)).process(records, [{"sem_seg": prediction}])


def test_one_nan_among_many_classes_is_found():
    scores = torch.randn(50, 3, 4)
    scores[37, 1, 2] = torch.nan
    assert best_class(scores)[1].isnan().nonzero().tolist() == [[1, 2]]


def test_missing_and_repeated_predictions_name_the_image(dataset):
    name, records = dataset([np.zeros((1, 1), int)] * 3)
    evaluator = SemanticEvaluator(name, names_of(1))
    outputs = [{"sem_seg": torch.zeros(1, 1, dtype=torch.int64)}]
    evaluator.process(records[:1], outputs)
    with pytest.raises(ValueError, match="two predictions for image_0.jpg"):
        evaluator.process(records[:1], outputs)
    with pytest.raises(ValueError, match="2 of 3 records.*no prediction; the first is image_1.jpg"):
        evaluator.evaluate()
    with pytest.raises(ValueError, match="image_1.jpg: the model gave .*no 'sem_seg'"):
        evaluator.process(records[1:2], [{"instances": None}])
    with pytest.raises(ValueError, match="other.jpg is not one of the 3 records"):
        evaluator.process([{"file_name": "other.jpg"}], outputs)


def test_a_label_outside_the_classes_names_the_file_and_the_label(dataset):
    name, records = dataset([np.array([[0, 1, 7]])])
    with pytest.raises(ValueError, match=r"image_0.jpg: .*_0.png holds label 7, which is neither"):
        evaluate(name, records, [torch.zeros(1, 3, dtype=torch.int64)], names_of(2))


def test_an_ignored_label_may_be_a_class_or_larger_than_a_byte(dataset):
    truth = np.array([[0, 1], [1, 459]])
    name, records = dataset([truth])
    guess = torch.tensor([[0, 1], [0, 0]])
    result = evaluate(name, records, [guess], names_of(2), fold=ClassFold(2, ignore_label=459))
    assert result["mIoU"] == pytest.approx(100 * (1 / 2 + 1 / 2) / 2)
    name, records = dataset([np.array([[0, 1], [1, 0]])])
    result = evaluate(name, records, [guess], names_of(2), fold=ClassFold(2, ignore_label=0))
    assert result["mIoU"] == pytest.approx(50.0)  # class 1: one of two pixels; class 0 is ignored
    assert np.isnan(result["IoU-c0"])


def test_names_fold_into_classes_before_they_are_compared(dataset):
    # Asked for cat, sofa, wall; evaluated cat and background, which the other two count as.
    name, records = dataset([np.array([[0, 0, 1, 1]])])
    fold = ClassFold(2, class_map=(0, 1, 1))
    result = evaluate(
        name, records, [torch.tensor([[0, 2, 1, 2]])], ["cat", "background"], fold=fold
    )
    assert result["IoU-cat"] == pytest.approx(50.0)
    assert result["IoU-background"] == pytest.approx(100 * 2 / 3)


def test_a_name_that_is_no_class_is_wrong_wherever_it_is_predicted(dataset):
    name, records = dataset([np.array([[0, 0, 0, 1]])])
    fold = ClassFold(2, class_map=(0, 1, 2))
    result = evaluate(name, records, [torch.tensor([[0, 0, 2, 1]])], ["a", "b"], fold=fold)
    assert result["IoU-a"] == pytest.approx(100 * 2 / 3)
    assert result["pACC"] == pytest.approx(75.0)


def test_pixels_of_a_class_without_a_name_are_ignored(dataset):
    name, records = dataset([np.array([[0, 0, 1, 2]])])
    fold = ClassFold(3, class_map=(0, 1), unanswerable=(2,))
    result = evaluate(name, records, [torch.tensor([[0, 1, 1, 0]])], names_of(3), fold=fold)
    assert result["mIoU"] == pytest.approx(50.0)  # c0 1 of 2, c1 1 of 2
    assert np.isnan(result["IoU-c2"])


def test_low_scores_are_background(dataset):
    name, records = dataset([np.array([[0, 1, 2, 2]])])
    scores = torch.tensor([[[0.9, 0.1, 0.3, 0.6]], [[0.2, 0.8, 0.2, 0.1]]])
    fold = ClassFold(3, class_map=(0, 1), background=2)
    classes = ["a", "b", "background"]
    result = evaluate(name, records, [scores], classes, fold=fold, background_threshold=0.5)
    # The last pixel keeps class a with 0.6: a 1/2, b 1/1, background 1/2.
    assert result["mIoU"] == pytest.approx(100 * (1 / 2 + 1 + 1 / 2) / 3)


def test_the_none_class_is_not_in_the_running_where_a_threshold_decides(dataset):
    name, records = dataset([np.array([[0, 1, 1]])])
    # The score of class 0, "background", would win everywhere.
    scores = torch.tensor([[[0.9, 0.9, 0.9]], [[0.1, 0.7, 0.4]]])
    options = {"background_threshold": 0.5, "none_class": 0}
    fold = ClassFold(2, background=0)
    result = evaluate(name, records, [scores], ["background", "a"], fold=fold, **options)
    assert result["IoU-a"] == pytest.approx(50.0)
    assert result["IoU-background"] == pytest.approx(50.0)


def test_a_threshold_needs_scores_and_a_background(dataset):
    name, records = dataset([np.zeros((1, 1), int)])
    fold = ClassFold(2, background=1)
    evaluator = SemanticEvaluator(name, names_of(2), fold=fold, background_threshold=0.5)
    with pytest.raises(ValueError, match="image_0.jpg.*label map.*0.5 needs scores"):
        evaluator.process(records, [{"sem_seg": torch.zeros(1, 1, dtype=torch.int64)}])
    with pytest.raises(ValueError, match="background_threshold 0.5 needs an evaluated class"):
        SemanticEvaluator(name, names_of(2), background_threshold=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_map": (0, 3)}, "class_map holds 0 to 3, expected 0 to 2"),
        ({"class_map": (0, -1)}, "class_map holds -1 to 0"),
        ({"background": 2}, "background holds 2 to 2, expected 0 to 1"),
        ({"unanswerable": (5,)}, "unanswerable holds 5 to 5"),
    ],
)
def test_a_fold_outside_the_classes_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassFold(2, **options)


def test_the_lowest_of_the_best_classes_is_taken_on_any_layout():
    generator = torch.Generator().manual_seed(0)
    for classes in (1, 2, 15, 16, 17, 40, 65, 130, 200):
        # Few different values, so that there are many ties.
        scores = torch.randint(0, 3, (classes, 7, 5), generator=generator).float()
        best = scores.permute(1, 2, 0) == scores.amax(0)[..., None]
        first = torch.where(best, torch.arange(classes), classes).amin(-1)
        channels_last = scores.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        for layout in (scores, channels_last, scores.half()):
            labels, tops = best_class(layout)
            assert torch.equal(labels, first.int())
            assert torch.equal(tops.float(), scores.amax(0))


@pytest.mark.gpu
def test_scores_on_a_gpu_give_the_same_counts(dataset):
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 40, (30, 50))
    scores = torch.from_numpy(generator.standard_normal((40, 30, 50), np.float32))
    name, records = dataset([truth])
    on_cpu = evaluate(name, records, [scores], names_of(40))
    assert evaluate(name, records, [scores.to("cuda")], names_of(40)) == on_cpu
    labels = scores.argmax(0).to("cuda")
    assert evaluate(name, records, [labels], names_of(40)) == on_cpu


def test_the_boundary_variant_compares_a_band_inside_each_object(dataset):
    # 10 x 10, band of one pixel: max(1, round(0.02 * 14.1)). Truth: a 6 x 6 square of class 1 with
    # a ring of 20 pixels; the prediction misses the whole ring, so of the 4 x 4 rest a ring of 12
    # is seen where the truth's difference is 0.
    truth = np.zeros((10, 10), int)
    truth[2:8, 2:8] = 1
    guess = np.zeros((10, 10), int)
    guess[3:7, 3:7] = 1
    name, records = dataset([truth])
    labels = [torch.from_numpy(guess)]
    result = evaluate(name, records, labels, names_of(2), boundary="detectron2")
    assert result["BoundaryIoU_detectron2-c1"] == 0.0
    # Elsewhere both differences are 0: 100 - 20 - 12 pixels of the union 100.
    assert result["BoundaryIoU_detectron2-c0"] == pytest.approx(68.0)
    assert result["min(IoU, B-Iou)-c0"] == pytest.approx(min(68.0, result["IoU-c0"]))
    assert result["IoU-c1"] == pytest.approx(100 * 16 / 36)


def test_boundaries_are_compared_as_the_paper_has_it_in_any_order_of_the_classes(dataset):
    # The same maps. Class 1: bands of 20 and 12 pixels that do not meet. Class 0: the border of 36
    # and a ring outside of the object, 28 pixels in the truth and 20 in the prediction, apart.
    truth, guess = np.zeros((2, 10, 10), int)
    truth[2:8, 2:8], guess[3:7, 3:7] = 1, 1
    for order in ([0, 1], [1, 0]):
        name, records = dataset([np.array(order)[truth]])
        labels = [torch.from_numpy(np.array(order)[guess])]
        result = evaluate(name, records, labels, names_of(2), boundary=True)
        background, square = (f"BoundaryIoU-c{label}" for label in order)
        assert result[square] == 0
        assert result[background] == pytest.approx(100 * 36 / (36 + 28 + 20))
        assert result["mBoundaryIoU"] == pytest.approx(50 * 36 / (36 + 28 + 20))
    with pytest.raises(ValueError, match="boundary must be True, False or 'detectron2', got 'p"):
        evaluate(name, records, labels, names_of(2), boundary="paper")


def differences_plainly(labels, width):
    """Each label minus the smallest one within `width` pixels; outside the image is label 0."""
    padded = np.pad(labels, width)
    around = [
        padded[y : y + labels.shape[0], x : x + labels.shape[1]]
        for y in range(2 * width + 1)
        for x in range(2 * width + 1)
    ]
    return labels - np.min(around, axis=0)


def test_200_random_boundaries_equal_the_definition():
    generator = np.random.default_rng(7)
    for _ in range(200):
        classes = int(generator.integers(2, 30))
        width = int(generator.integers(1, 3))
        # The diagonal of a square of side s is 1.414 s, the band round(0.02 * 1.414 s) wide.
        side = {1: 12, 2: 60}[width]
        blocks = generator.integers(0, classes, (2, side // 6, side // 6))
        truth, guess = (np.kron(block, np.ones((6, 6), np.int64)) for block in blocks)
        truths, guesses = (differences_plainly(labels, width) for labels in (truth, guess))
        assert np.array_equal(boundary_labels(truth), truths)
        fold = ClassFold(classes, ignore_label=255)
        confusion = confusion_matrix([(guess, truth)], fold)
        boundary = confusion_matrix([(guesses, truths)], fold)
        result = semantic_metrics(
            confusion, names_of(classes), boundary, boundary_rule="detectron2"
        )
        plain = plain_metrics([truth], [guess], classes, 255)
        for c in range(classes):
            both = ((truths == c) & (guesses == c)).sum()
            either = ((truths == c) | (guesses == c)).sum()
            expected = 100 * both / either if either else np.nan
            assert result[f"BoundaryIoU_detectron2-c{c}"] == pytest.approx(
                expected, abs=1e-9, nan_ok=True
            )
            least = expected if expected < plain[f"IoU-c{c}"] else plain[f"IoU-c{c}"]
            value = result[f"min(IoU, B-Iou)-c{c}"]
            assert value == pytest.approx(least, abs=1e-9, nan_ok=True)


def test_boundaries_do_not_overflow_with_many_classes(dataset):
    # Class 200 alone: its difference is 200 in a band of one pixel, 0 within.
    truth = np.full((6, 6), 200)
    name, records = dataset([truth])
    for rule, key in (("detectron2", "BoundaryIoU_detectron2"), (True, "BoundaryIoU")):
        result = evaluate(name, records, [torch.from_numpy(truth)], names_of(201), boundary=rule)
        assert result[f"{key}-c200"] == 100.0
        assert np.isnan(result[f"{key}-c199"])
        # By the rule of the paper no pixel is of class 0.
        assert rule is True or result[f"{key}-c0"] == 100.0


def test_a_record_without_a_label_file_is_named(dataset):
    name, records = dataset([np.zeros((1, 1), int)] * 2)
    del records[1]["sem_seg_file_name"]
    with pytest.raises(ValueError, match="image_1.jpg has no 'sem_seg_file_name'"):
        SemanticEvaluator(name, names_of(1))


def test_label_maps_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"pair 1: .*\(2, 3\), the truth \(3, 2\)"):
        same = np.zeros((2, 3), int)
        confusion_matrix([(same, same), (same, same.T)], ClassFold(1))


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\), expected \(4, 4\)"):
        semantic_metrics(np.zeros((3, 3), np.int64), names_of(3))


def test_label_files_with_a_palette_and_16_bits_are_read_as_they_stand(tmp_path):
    labels = np.array([[0, 3], [255, 7]], np.uint8)
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel().tolist())
    palette.save(tmp_path / "palette.png")
    assert read_label_map(tmp_path / "palette.png").tolist() == labels.tolist()
    deep = np.array([[0, 846], [65535, 300]], np.uint16)
    for ending in ("png", "tif"):
        Image.fromarray(deep).save(tmp_path / f"deep.{ending}")
        assert read_label_map(tmp_path / f"deep.{ending}").tolist() == deep.tolist()


def test_a_label_file_that_cannot_be_a_label_map_is_refused(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="colour.png: the label map has 3 channels"):
        read_label_map(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="text.png: the label map cannot be read"):
        read_label_map(tmp_path / "text.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 99, (64, 64), np.uint8)).save(
        tmp_path / "whole.png"
    )
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    with pytest.raises(ValueError, match="cut.png: the label map cannot be read"):
        read_label_map(tmp_path / "cut.png")
    with pytest.raises(FileNotFoundError, match="none.png"):
        read_label_map(tmp_path / "none.png")


def counted_plainly(prediction, truth):
    pairs = zip(prediction.ravel().tolist(), truth.ravel().tolist())
    cells = ((int(p), int(t), n) for (p, t), n in Counter(pairs).items())
    return sorted(cells, key=lambda cell: (cell[1], cell[0]))


@pytest.mark.parametrize(
    "shape, guess, truth, dtypes",
    [
        ((1, 1), (0, 2), (0, 2), ("int64", "uint8")),
        ((3, 5), (0, 2), (0, 2), ("bool", "bool")),
        ((40, 50), (0, 3), (0, 200), ("int16", "uint8")),
        ((40, 50), (0, 256), (0, 256), ("uint8", "uint8")),  # a table of just 2**16 cells
        ((40, 50), (7, 300), (100, 500), ("int32", "uint16")),  # too large for a table
        ((40, 50), (-5, 300), (65000, 65536), ("int64", "uint16")),
        ((40, 50), (2**24 - 9, 2**24), (2**20, 2**24), ("uint32", "uint32")),
        ((40, 50), (0, 2**24), (0, 2**24), ("int64", "uint32")),
        ((40, 50), (-(2**40), 2**40), (0, 2**33), ("int64", "int64")),
    ],
)
def test_every_pair_of_labels_is_counted_once(shape, guess, truth, dtypes):
    generator = np.random.default_rng(4)
    for repeat in (1, 4):
        maps = [
            np.repeat(generator.integers(*limits, shape), repeat, axis=1).astype(dtype)
            for limits, dtype in zip((guess, truth), dtypes)
        ]
        ours = np.stack(pair_counts(*maps), axis=1)
        assert list(map(tuple, ours.tolist())) == counted_plainly(*maps)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_places_of_few_flags_are_those_of_numpy(share):
    generator = np.random.default_rng(20)
    for size in [*range(34), 1000, 1001, 1007]:
        flags = generator.random(size) < share
        assert np.array_equal(sparse_places(flags), np.flatnonzero(flags)), size


@pytest.mark.parametrize("highest", [3, 300, 2**16, 2**24, 2**31 - 1])
@pytest.mark.parametrize("lowest", [0, -5])
def test_areas_are_counted_as_pixels_are(highest, lowest):
    generator = np.random.default_rng(highest)
    for _ in range(25):
        numbers = generator.integers(lowest, highest, 12)
        coarse = generator.integers(0, 12, (2, 4, 3))
        maps = numbers[coarse].repeat(9, axis=1).repeat(16, axis=2)
        maps[1] = np.roll(maps[1], 3, axis=1)
        for ours, theirs in zip(area_counts(*maps), pair_counts(*maps)):
            assert ours.dtype == np.int64 and np.array_equal(ours, theirs)


def test_maps_without_a_pixel_hold_no_pair():
    assert [part.size for part in pair_counts(*np.zeros((2, 0, 3), int))] == [0, 0, 0]


def test_the_gallery_keeps_the_best_and_the_worst(dataset):
    truths = [np.zeros((1, 10), int)] * 9 + [np.full((1, 10), 255)]
    name, records = dataset(truths)
    evaluator = SemanticEvaluator(name, names_of(2), gallery=Gallery(keep=2))
    for right, record in zip((5, 9, 1, 7, 0, 8, 3, 2, 6, 10), records):
        guess = torch.ones(1, 10, dtype=torch.int64)
        guess[:, :right] = 0
        evaluator.process([record], [{"sem_seg": guess}])
    assert [picture.score for picture in evaluator.gallery.best()] == [90, 80]
    assert [picture.score for picture in evaluator.gallery.worst()] == [0, 10]
    worst = evaluator.gallery.worst()[0]
    assert worst.file_name == "image_4.jpg"
    assert (worst.prediction == 1).all() and (worst.truth == 0).all()
