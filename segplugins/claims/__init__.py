"""Tables of experiments behind a paper's claims: each a YAML file, run by tools/claims.py.

claim.py        a claim: rows, steps that they need, metrics
read_claim.py   a claim from its file
library.py      which files a name on the command line means
plan.py         a claim to single runs with their commands, in order
configs.py      the configs of runs, and whether they give the metrics
state.py        how far the run in a folder is, and whether it is the same run
execute.py      one run after the other, each in a process of its own
table.py        mean and spread over seeds, and what is missing
write_table.py  the table as files
"""

from segplugins.claims.claim import Claim, Metric, Row, Step
from segplugins.claims.execute import Outcome, run_all
from segplugins.claims.library import claim_files, find_claims
from segplugins.claims.plan import Plan, Run, plan_runs
from segplugins.claims.read_claim import read_claim
from segplugins.claims.state import Stage, State, state_of
from segplugins.claims.table import ClaimTable, measure
from segplugins.claims.write_table import write_table

__all__ = [
    "Claim",
    "ClaimTable",
    "Metric",
    "Outcome",
    "Plan",
    "Row",
    "Run",
    "Stage",
    "State",
    "Step",
    "claim_files",
    "find_claims",
    "measure",
    "plan_runs",
    "read_claim",
    "run_all",
    "state_of",
    "write_table",
]
