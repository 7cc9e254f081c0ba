"""Trees and flowers."""

from ..figure import Figure


def tree(figure: Figure, variant: int) -> None:
    """A round tree (0), a fir (1) or a poplar (2)."""
    (_round_tree, _fir, _poplar)[variant](figure)


def _round_tree(figure: Figure) -> None:
    figure.polygon(
        "trunk", "trunk", [(-75, 0), (-40, 140), (-38, 480), (38, 480), (40, 140), (85, 0)]
    )
    figure.polygon(
        "trunk", "trunk", [(10, 0), (12, 140), (14, 480), (38, 480), (40, 140), (85, 0)], -22
    )
    for x, y, radius in (
        (-170, 520, 150),
        (170, 500, 150),
        (-210, 690, 150),
        (220, 680, 145),
        (0, 590, 200),
        (0, 800, 200),
    ):
        figure.circle("crown", "main", (x, y), radius, -16)
    for x, y, radius in ((-140, 560, 120), (-150, 720, 130), (60, 680, 170), (-20, 820, 150)):
        figure.circle("crown", "main", (x, y), radius)
    for x, y, radius in ((-130, 770, 80), (-10, 870, 75), (-190, 640, 55), (60, 740, 60)):
        figure.circle("crown", "main", (x, y), radius, 20)


def _fir(figure: Figure) -> None:
    figure.rect("trunk", "trunk", (-50, 0, 50, 220))
    figure.rect("trunk", "trunk", (10, 0, 50, 220), -22)
    for bottom, top, half in ((140, 560, 320), (380, 780, 260), (600, 1000, 190)):
        figure.polygon(
            "crown",
            "main",
            [
                (-half, bottom),
                (-half // 2, bottom + 30),
                (0, bottom - 20),
                (half // 2, bottom + 30),
                (half, bottom),
                (0, top),
            ],
            -6,
        )
        figure.polygon(
            "crown",
            "main",
            [(-half, bottom), (-half // 2, bottom + 30), (-half // 5, bottom + 10), (0, top)],
            14,
        )
        figure.polygon(
            "crown",
            "main",
            [(half // 3, bottom + 15), (half // 2, bottom + 30), (half, bottom), (0, top)],
            -22,
        )


def _poplar(figure: Figure) -> None:
    figure.rect("trunk", "trunk", (-45, 0, 45, 260))
    figure.rect("trunk", "trunk", (10, 0, 45, 260), -22)
    figure.ellipse("crown", "main", (0, 580), (225, 420), -14)
    figure.ellipse("crown", "main", (-30, 590), (170, 370), 2)
    figure.ellipse("crown", "main", (-75, 650), (90, 250), 18)


def flower(figure: Figure, variant: int) -> None:
    """A daisy with round petals (0) or a tulip (1)."""
    figure.rect("stem", "stem", (-26, 0, 26, 640))
    figure.rect("stem", "stem", (4, 0, 26, 640), -22)
    figure.polygon("stem", "stem", [(0, 130), (-90, 330), (-270, 400), (-200, 210)], 8)
    figure.polygon("stem", "stem", [(0, 60), (90, 260), (260, 340), (190, 140)], -8)
    (_daisy, _tulip)[variant](figure)


def _daisy(figure: Figure) -> None:
    petals = [(0, 190), (165, 95), (165, -95), (0, -190), (-165, -95), (-165, 95)]
    for x, y in petals:
        figure.circle("blossom", "main", (x * 105 // 100, 730 + y * 85 // 100), 112, -14)
    for x, y in petals:
        figure.circle("blossom", "main", (x * 90 // 100, 735 + y * 75 // 100), 92, 6)
    figure.circle("blossom", "pollen", (0, 735), 90)
    figure.circle("blossom", "pollen", (-20, 755), 48, 28)


def _tulip(figure: Figure) -> None:
    figure.polygon(
        "blossom",
        "main",
        [
            (-90, 520),
            (-230, 660),
            (-250, 980),
            (-120, 850),
            (0, 1000),
            (120, 850),
            (250, 980),
            (230, 660),
            (90, 520),
        ],
        -10,
    )
    figure.polygon(
        "blossom",
        "main",
        [(-70, 525), (-140, 700), (-60, 880), (0, 960), (60, 880), (140, 700), (70, 525)],
        16,
    )
    figure.polygon(
        "blossom", "main", [(90, 520), (230, 660), (250, 980), (140, 800), (150, 660)], -26
    )
