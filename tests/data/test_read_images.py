import numpy as np
import pytest
from PIL import Image

from segplugins.data.read_images import check_same_size, read_image, record_name
from segplugins.files.faults import Collect

RECORD = {"image_id": 7, "dataset": "pets", "file_name": ""}


def test_a_record_is_called_by_its_id_and_its_data_set():
    assert record_name({"image_id": 7, "dataset": "pets"}) == "record 7 of 'pets'"
    assert record_name({"file_name": "a.jpg"}) == "record a.jpg"


def test_a_picture_taken_upright_is_turned_as_its_exif_data_say(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255  # white left half
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of the file
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image = read_image({"file_name": str(tmp_path / "a.jpg")})
    assert image.shape == (40, 20, 3)
    assert image[:15].min() > 200 and image[-15:].max() < 50  # white is on top now


def test_a_picture_is_left_as_it_lies_where_its_record_was_made_so(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(tmp_path / "a.jpg")
    Image.fromarray(pixels).save(path, exif=exif)
    assert read_image({"file_name": path, "height": 20, "width": 40}).shape == (20, 40, 3)
    assert read_image({"file_name": path, "height": 40, "width": 20}).shape == (40, 20, 3)


def test_a_missing_image_is_named_with_its_record(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.jpg, record 7 of 'pets': the image does not"):
        read_image({**RECORD, "file_name": str(tmp_path / "gone.jpg")})


def test_an_unreadable_image_is_named_with_its_record(tmp_path):
    path = tmp_path / "bad.jpg"
    path.write_bytes(b"not an image")
    with pytest.raises(ValueError, match="bad.jpg, record 7 of 'pets': the image cannot be read"):
        read_image({**RECORD, "file_name": str(path)})


def test_an_image_of_another_size_than_its_record_says_is_an_error(tmp_path, save):
    path = save(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(ValueError, match="is 4x6 .height x width., its record says 6x4"):
        read_image({**RECORD, "file_name": path, "height": 6, "width": 4})


MAPS = ("sem_seg_file_name", "pan_seg_file_name", "mask_file_name", "label_file_name")


@pytest.mark.parametrize("key", MAPS)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_picture_on_its_side_lies_as_its_label_map_does(tmp_path, save, key, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255  # white left half, as stored
    path = str(tmp_path / "a.jpg")
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    stored = save(tmp_path / "stored.png", np.zeros((20, 40), np.uint8))
    shown = save(tmp_path / "shown.png", np.zeros((40, 20), np.uint8))
    image = read_image({"file_name": path, key: stored})
    assert image.shape == (20, 40, 3)
    assert image[:, :18].min() > 200 and image[:, 22:].max() < 50
    assert read_image({"file_name": path, key: shown}).shape == (40, 20, 3)
    # What the record says itself comes before what its map says.
    record = {"file_name": path, key: stored, "height": 40, "width": 20}
    assert read_image(record).shape == (40, 20, 3)


def test_a_turned_picture_is_a_remark_that_says_what_was_done(tmp_path, save):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(tmp_path / "a.jpg")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(path, exif=exif)
    collected = Collect()
    stored = save(tmp_path / "stored.png", np.zeros((20, 40), np.uint8))
    read_image({"file_name": path, "sem_seg_file_name": stored}, collected)
    read_image({"file_name": path}, collected)
    assert [(fault.kind, fault.remark) for fault in collected.faults] == [("exif", True)] * 2
    assert "is not applied" in collected.faults[0].message
    assert "turns the image" in collected.faults[1].message


def test_a_size_that_only_fits_another_picture_names_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(tmp_path / "a.jpg")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(path, exif=exif)
    message = "is 40x20 .height x width. after EXIF orientation 6, its record says 20x41"
    with pytest.raises(ValueError, match=message):
        read_image({"file_name": path, "height": 20, "width": 41})


def test_a_collected_fault_gives_no_image(tmp_path):
    collected = Collect()
    assert read_image({"file_name": str(tmp_path / "gone.jpg")}, collected) is None
    assert [fault.kind for fault in collected.faults] == ["missing"]


def test_maps_turned_against_their_image_name_exif():
    labels, image = np.zeros((2, 3)), np.zeros((3, 2, 3))
    with pytest.raises(ValueError, match="record 7 .*a.png is 2x3 .*is 3x2; .*by EXIF"):
        check_same_size(labels, image, "a.png", RECORD)
