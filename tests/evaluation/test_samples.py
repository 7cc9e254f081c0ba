import pytest
import torch

from segplugins.evaluation.output_checks import check_finite, check_size, output_of
from segplugins.evaluation.sample_identity import describe, sample_key
from segplugins.evaluation.samples import Samples

RECORDS = [{"file_name": f"{i}.jpg", "image_id": i} for i in range(3)]


def test_rows_come_back_in_the_order_of_the_data_set(catalog):
    samples = Samples(catalog(RECORDS))
    for record in reversed(RECORDS):
        samples.add(record, record["image_id"] * 10)
    assert samples.gather() == [0, 10, 20]


def test_a_record_that_two_processes_have_scored_counts_as_the_first_of_them_has_it(
    catalog, monkeypatch
):
    """A sampler may pad the last batch with records of the first; the others are as they are."""
    samples = Samples(catalog(RECORDS))
    keys = [sample_key(record) for record in RECORDS]
    shares = [{keys[0]: "first", keys[1]: "own"}, {keys[0]: "second", keys[2]: "other"}]
    monkeypatch.setattr("segplugins.evaluation.samples.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("segplugins.evaluation.samples.comm.gather", lambda rows: shares)
    assert samples.gather() == ["first", "own", "other"]


def test_a_missing_prediction_names_the_image(catalog):
    samples = Samples(name := catalog(RECORDS))
    samples.add(RECORDS[0], 0)
    with pytest.raises(
        ValueError, match=rf"2 of 3 records of '{name}' have no prediction.*1.jpg \(image_id 1\)"
    ):
        samples.gather()


def test_a_second_prediction_names_the_image(catalog):
    samples = Samples(catalog(RECORDS))
    samples.add(RECORDS[1], 0)
    with pytest.raises(ValueError, match=r"two predictions for 1.jpg \(image_id 1\)"):
        samples.add(RECORDS[1], 0)


def test_reset_forgets_the_rows(catalog):
    samples = Samples(catalog(RECORDS[:1]))
    samples.add(RECORDS[0], "old")
    samples.reset()
    samples.add(RECORDS[0], "new")
    assert samples.gather() == ["new"]


def test_a_record_of_another_data_set_is_refused(catalog):
    samples = Samples(name := catalog(RECORDS))
    with pytest.raises(ValueError, match=f"other.jpg is not one of the 3 records of .*'{name}'"):
        list(samples.pairs([{"file_name": "other.jpg"}], [{}]))


def test_one_output_per_record_is_expected(catalog):
    samples = Samples(catalog(RECORDS))
    with pytest.raises(ValueError, match="1 outputs for 2 records"):
        list(samples.pairs(RECORDS[:2], [{}]))


def test_two_records_that_cannot_be_told_apart_are_refused(catalog):
    name = catalog([RECORDS[0], dict(RECORDS[0])])
    with pytest.raises(ValueError, match=r"two records 0.jpg \(image_id 0\); give them different"):
        Samples(name)


def test_an_image_is_as_many_samples_as_it_has_expressions_or_frames():
    frame = {"file_name": "a.jpg", "video_id": "v", "expression_id": "1", "frame": "00000"}
    assert sample_key(frame) != sample_key({**frame, "expression_id": "2"})
    assert describe(frame) == "a.jpg (video_id v, expression_id 1, frame 00000)"
    assert sample_key({"file_name": "a.jpg"}) == (("file_name", "a.jpg"),)
    with pytest.raises(ValueError, match="neither file_name nor any of"):
        sample_key({"height": 3})


def test_an_output_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"0.jpg.*gave \['instances'\], but no 'panoptic_seg'"):
        output_of(RECORDS[0], {"instances": 1}, "panoptic_seg")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found(value):
    values = torch.zeros(3, 4)
    check_finite(RECORDS[0], "scores", values)
    values[1, 2] = value
    with pytest.raises(ValueError, match="0.jpg.*scores holds NaN or infinite"):
        check_finite(RECORDS[0], "scores", values)


def test_whole_numbers_and_nothing_are_finite():
    check_finite(RECORDS[0], "labels", torch.ones(2, dtype=torch.int64))
    check_finite(RECORDS[0], "scores", torch.zeros(0))


def test_another_size_names_both():
    with pytest.raises(ValueError, match=r"0.jpg.*masks has shape \(2, 3\), the truth \(3, 2\)"):
        check_size(RECORDS[0], "masks", (2, 3), (3, 2))
