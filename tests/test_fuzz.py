"""Damaged annotations, maps and images by the hundred; tests/support/fuzz.py says what must hold.

They run in a process of their own: a decoder that dies of one must fail the test, not end it.
"""

import json
from pathlib import Path

import pytest

from tests.support.commands import run_process

FUZZ = Path(__file__).with_name("support") / "fuzz.py"


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """What became of the cases: numbers by kind and outcome."""
    done = run_process(FUZZ, "--folder", tmp_path_factory.mktemp("fuzz"), "--seed", "0")
    assert done.returncode >= 0, f"killed by signal {-done.returncode}: {done.stderr[-2000:]}"
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_no_damage_kills_hangs_or_gives_a_wrong_number(counts):
    assert sum(number for kind, number in counts.items() if ":" in kind) >= 1000


@pytest.mark.parametrize("kind", ["instances", "lines", "refs", "panoptic", "label map", "image"])
def test_the_cases_are_hostile_enough_and_not_hopeless(counts, kind):
    # Without faulty ones nothing was tried, without clean ones no number was compared.
    assert counts[f"{kind}: faulty"] >= 20 and counts[f"{kind}: clean"] >= 5


def test_masks_are_drawn_as_well_as_refused(counts):
    assert counts["mask: refused"] >= 50 and counts["mask: drawn"] >= 50


def test_a_promise_that_is_not_kept_is_noticed(tmp_path):
    # A reader that forgets the check of short RLEs must not pass.
    code = (
        "import runpy, sys\n"
        "from segplugins.structures import regions\n"
        "from segplugins.data.check import regions as checks\n"
        "from segplugins.files import coco_annotations, masks\n"
        "masks._check_rle = lambda rle, height, width: (0, 0, width, height)\n"
        "coco_annotations.differing_boxes = lambda boxes, extents, sizes: boxes[:, 0] < -1e9\n"
        "checks.decode_mask = lambda mask, height, width: regions.np.ones((height, width), bool)\n"
        f"sys.argv = ['fuzz', '--times', '0.3', '--folder', {str(tmp_path)!r}]\n"
        f"runpy.run_path({str(FUZZ)!r}, run_name='__main__')\n"
    )
    done = run_process("-c", code)
    assert done.returncode == 1 and "Broken: instances: found clean, but training" in done.stderr
