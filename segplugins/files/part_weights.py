"""Words for weights that a part of a model begins with, beside names of files."""

PACKAGE = "package"  # of an installed package of a registry
PACKAGE_STATISTICS = "package:statistics"  # its pixel statistics without its tensors


def without_tensors(weights: str) -> str:
    """Returns what weights leave of a part whose tensors a checkpoint replaces.

    Weights of a package come with pixel statistics of their own, and a model that was trained from
    them goes on seeing pictures in these.

    >>> without_tensors("package"), without_tensors("own.pth")
    ('package:statistics', '')
    """
    return PACKAGE_STATISTICS if weights in (PACKAGE, PACKAGE_STATISTICS) else ""
