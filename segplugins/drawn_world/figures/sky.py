"""Sun, moon and clouds."""

import math

from ..figure import Figure


def sun(figure: Figure, variant: int) -> None:
    """A disc with pointed rays (0) or a plain disc with a bright middle (1)."""
    if variant == 0:
        for k in range(12):
            angle = 2 * math.pi * k / 12
            ray = [_around(angle - 0.16, 370), _around(angle, 500), _around(angle + 0.16, 370)]
            figure.polygon("", "ray", ray)
        figure.circle("", "sunny", (0, 500), 365)
    else:
        figure.circle("", "sunny", (0, 500), 500, -6)
        figure.circle("", "sunny", (0, 500), 440)
    figure.circle("", "sunny", (-40, 540), 270, 26)


def _around(angle: float, radius: int) -> "tuple[int, int]":
    return round(radius * math.cos(angle)), 500 + round(radius * math.sin(angle))


def moon(figure: Figure, variant: int) -> None:
    """A full moon (0) or a crescent (1)."""
    if variant == 0:
        figure.circle("", "moonlit", (0, 500), 500)
        for x, y, radius in ((-170, 620, 110), (150, 420, 140), (90, 760, 70), (-190, 300, 75)):
            figure.circle("", "crater", (x, y), radius)
    else:
        outer = [_around(math.pi * k / 24, 500) for k in range(-18, 19)]
        inner = [
            (x - 210, y) for x, y in (_around(math.pi * k / 24, 380) for k in range(18, -19, -1))
        ]
        figure.polygon(
            "", "moonlit", [(x - 60, y) for x, y in outer + [(x + 40, y) for x, y in inner]]
        )


def cloud(figure: Figure, variant: int) -> None:
    """Three heaps of vapour."""
    heaps = (
        [(-650, 330, 330), (-250, 560, 440), (280, 480, 400), (700, 300, 300)],
        [(-700, 280, 280), (-320, 420, 370), (150, 600, 400), (560, 380, 350), (850, 240, 230)],
        [(-560, 350, 340), (0, 540, 450), (560, 370, 340)],
    )[variant]
    left, right = heaps[0][0] - heaps[0][2], heaps[-1][0] + heaps[-1][2]
    figure.rect("", "main", (left + 160, 0, right - 160, 300), -12)
    for x, y, radius in heaps:
        figure.ellipse("", "main", (x, max(y - 20, radius)), (radius, radius), -12)
    for x, y, radius in heaps:
        figure.ellipse(
            "", "main", (x - 30, max(y, radius) + 40), (radius * 82 // 100, radius * 78 // 100), 10
        )
    for x, y, radius in heaps[1:3]:
        figure.ellipse(
            "", "main", (x - 70, max(y, radius) + 100), (radius // 2, radius * 45 // 100), 50
        )
