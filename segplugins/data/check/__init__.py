"""Checks of data sets: every fault of every record, a cleaned copy, and what training does then.

Reading order: load.py reads the files of a set by a policy, record.py reads one record with its
pictures, run.py all of them in processes; fix.py writes a cleaned copy.
"""

from segplugins.data.check.fix import check_report, check_target, main_source, write_cleaned
from segplugins.data.check.load import load_by_policy, load_with_faults
from segplugins.data.check.policy import SkipFaults
from segplugins.data.check.record import Findings, check_record
from segplugins.data.check.report import as_data, as_text
from segplugins.data.check.run import Checked, check_dataset

__all__ = [
    "Checked",
    "Findings",
    "SkipFaults",
    "as_data",
    "as_text",
    "check_dataset",
    "check_record",
    "check_report",
    "check_target",
    "load_by_policy",
    "load_with_faults",
    "main_source",
    "write_cleaned",
]
