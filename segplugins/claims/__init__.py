"""Tables of experiments behind a paper's claims: each a YAML file, run by tools/claims.py.

claim.py     a claim from its file: rows, steps that they need, metrics
library.py   which files a name on the command line means
plan.py      a claim to single runs with their commands, in order
state.py     how far the run in a folder is, and whether it is the same run
execute.py   one run after the other, each in a process of its own
table.py     mean and spread over seeds: text, Markdown, CSV, JSON, picture
"""

from segplugins.claims.claim import Claim, Metric, Row, Step, read_claim
from segplugins.claims.execute import Outcome, run_all
from segplugins.claims.library import claim_files, find_claims
from segplugins.claims.plan import Plan, Run, plan_runs
from segplugins.claims.state import Stage, State, state_of
from segplugins.claims.table import ClaimTable, measure, write_table

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
