"""Kites and hot-air balloons."""

from ..figure import Figure


def kite(figure: Figure, variant: int) -> None:
    """A kite with a tail that hangs to the left (0) or to the right (1)."""
    side = 1 if variant else -1
    line = [(0, 420), (70, 330), (-10, 240), (60, 140), (-20, 20)]
    points = [(side * x, y) for x, y in line]
    for ends in zip(points, points[1:]):
        figure.bar("tail", "canvas", ends, 34)
    for x, y in points[1:]:
        figure.polygon("tail", "main", [(x - 75, y + 42), (x, y), (x - 75, y - 42)], 10)
        figure.polygon("tail", "main", [(x + 75, y + 42), (x, y), (x + 75, y - 42)], -10)
    top, left, right, bottom, middle = (0, 1000), (-300, 720), (300, 720), (0, 400), (0, 720)
    figure.polygon("sail", "main", [top, left, middle], 22)
    figure.polygon("sail", "main", [top, right, middle], -4)
    figure.polygon("sail", "main", [bottom, left, middle], -4)
    figure.polygon("sail", "main", [bottom, right, middle], -24)
    figure.bar("sail", "canvas", (top, bottom), 20)
    figure.bar("sail", "canvas", (left, right), 20)


def balloon(figure: Figure, variant: int) -> None:
    """A hot-air balloon with stripes (0) or with a belt (1)."""
    for x in (-85, 85):
        figure.bar("basket", "wood", ((x, 150), (x * 2, 400)), 22)
    figure.rect("basket", "straw", (-100, 0, 100, 160))
    figure.rect("basket", "straw", (30, 0, 100, 160), -20)
    figure.rect("basket", "straw", (-115, 130, 115, 175), -30)
    figure.polygon("envelope", "main", [(-340, 520), (-120, 300), (120, 300), (340, 520)], -12)
    figure.ellipse("envelope", "main", (0, 630), (385, 370), -12)
    figure.ellipse("envelope", "main", (-40, 640), (330, 350), 4)
    if variant == 0:
        figure.ellipse("envelope", "canvas", (0, 640), (230, 362))
        figure.polygon("envelope", "canvas", [(-225, 560), (-80, 300), (80, 300), (225, 560)])
        figure.ellipse("envelope", "main", (0, 640), (105, 364), -4)
        figure.polygon("envelope", "main", [(-103, 560), (-38, 300), (38, 300), (103, 560)], -4)
    else:
        figure.polygon(
            "envelope",
            "canvas",
            [(-384, 660), (-372, 560), (372, 560), (384, 660), (374, 720), (-374, 720)],
        )
        for x in (-260, -90, 80, 250):
            figure.polygon(
                "envelope", "main", [(x, 640), (x + 60, 580), (x + 120, 640), (x + 60, 700)][:4]
            )
    figure.ellipse("envelope", "main", (-190, 800), (70, 95), 40)
    figure.rect("envelope", "main", (-120, 292, 120, 330), -35)
