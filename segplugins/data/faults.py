"""The gate through which readers hand parsed files to a policy that takes faulty entries out."""

from typing import Any

from segplugins.files.faults import FaultPolicy


def sift(policy: FaultPolicy, kind: str, content: Any, path: object, **about: Any) -> Any:
    """Returns the content of an annotation file, cleaned if the policy knows how.

    Args:
        policy: of the reading.
        kind: "instances", "panoptic", "refs" or "lines".
        content: parsed JSON (or lines of text).
        path: of the file.
        about: what the kind's sieve needs; see check/sieve_*.py.
    """
    clean = getattr(policy, "sift", None)
    return content if clean is None else clean(kind, content, str(path), **about)
