import pytest

from segplugins.files.faults import STRICT, Collect, Fault, FaultError, Skip

FAULT = Fault("box", "bbox is 3 numbers, expected 4", "a.json", "7", "annotation 1")
REMARK = Fault("area", "area is recomputed", remark=True)


def test_strict_raises_the_one_line_of_the_fault_and_lets_remarks_pass():
    STRICT.report(REMARK)
    with pytest.raises(FaultError, match="^a.json, record 7, annotation 1: bbox is 3 numbers") as e:
        STRICT.report(FAULT)
    assert e.value.fault is FAULT and isinstance(e.value, ValueError)


def test_a_missing_file_is_also_a_file_not_found_error():
    with pytest.raises(FileNotFoundError, match="^x.png: does not exist"):
        STRICT.report(Fault("missing", "does not exist", "x.png"))


def test_skip_counts_all_and_keeps_the_first():
    policy = Skip(keep=2)
    for _ in range(3):
        policy.report(FAULT)
    policy.report(REMARK)
    assert policy.counts == {"box": 3} and policy.first == [FAULT, FAULT]


def test_collect_keeps_remarks_too():
    policy = Collect()
    policy.report(FAULT)
    policy.report(REMARK)
    assert policy.faults == [FAULT, REMARK]
