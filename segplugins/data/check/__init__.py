"""Checks of data sets: every fault of every record, a cleaned copy, and what training does then.

Reading order: faults.py (beside this folder) is the gate in the readers, load.py loads in spite of
faults through the sieves, record.py reads one record, run.py all of them in processes.
"""

from segplugins.data.check.fix import check_target, main_source, write_cleaned
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
    "check_target",
    "load_by_policy",
    "load_with_faults",
    "main_source",
    "write_cleaned",
]
