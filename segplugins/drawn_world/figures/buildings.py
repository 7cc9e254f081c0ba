"""Houses and lamps."""

from ..figure import Figure


def house(figure: Figure, variant: int) -> None:
    """A cottage (0), a town house (1) or a long house (2)."""
    (_cottage, _town_house, _long_house)[variant](figure)


def _cottage(figure: Figure) -> None:
    figure.rect("roof", "brick", (210, 600, 320, 980), -10)
    figure.rect("roof", "brick", (195, 950, 335, 1000), 10)
    figure.rect("wall", "main", (-430, 0, 430, 570))
    figure.polygon("wall", "main", [(-430, 570), (430, 570), (0, 960)])
    figure.rect("wall", "main", (290, 0, 430, 580), -14)
    figure.rect("wall", "main", (-430, 0, 430, 50), -24)
    figure.circle("window", "frame", (0, 660), 80)
    figure.circle("window", "glass", (0, 660), 58)
    figure.polygon("roof", "slate", [(-540, 500), (0, 1000), (0, 880), (-480, 430)], 14)
    figure.polygon("roof", "slate", [(540, 500), (0, 1000), (0, 880), (480, 430)], -10)
    _door(figure, 0, 190, 360)
    _window(figure, -290, 230, 170, 190)
    _window(figure, 270, 230, 170, 190)


def _town_house(figure: Figure) -> None:
    figure.rect("roof", "brick", (-260, 760, -160, 1000), -5)
    figure.rect("wall", "main", (-350, 0, 350, 720))
    figure.rect("wall", "main", (230, 0, 350, 720), -14)
    figure.rect("wall", "main", (-350, 340, 350, 372), 34)
    figure.rect("wall", "main", (-350, 0, 350, 45), -24)
    figure.polygon("roof", "tile", [(-430, 690), (-270, 940), (270, 940), (430, 690)], 6)
    figure.polygon("roof", "tile", [(170, 690), (170, 940), (270, 940), (430, 690)], -14)
    figure.rect("roof", "tile", (-430, 680, 430, 712), -30)
    for x in (-210, 0, 210):
        _window(figure, x, 430, 130, 180)
    _window(figure, -210, 120, 130, 160)
    _window(figure, 210, 120, 130, 160)
    _door(figure, 0, 150, 270)


def _long_house(figure: Figure) -> None:
    figure.rect("roof", "brick", (-330, 780, -210, 1000), -5)
    figure.rect("wall", "main", (-520, 0, 520, 580))
    figure.rect("wall", "main", (380, 0, 520, 580), -14)
    figure.rect("wall", "main", (-520, 0, 520, 55), -24)
    figure.polygon("roof", "slate", [(-600, 540), (-430, 900), (430, 900), (600, 540)])
    figure.polygon("roof", "slate", [(-560, 625), (-500, 750), (500, 750), (560, 625)], 12)
    figure.polygon("roof", "slate", [(300, 540), (300, 900), (430, 900), (600, 540)], -16)
    _door(figure, -20, 190, 370)
    for x in (-330, 290):
        _window(figure, x, 240, 220, 200)


def _window(figure: Figure, x: int, y: int, width: int, height: int) -> None:
    half = width // 2
    figure.rect("window", "frame", (x - half - 22, y - 22, x + half + 22, y + height + 22))
    figure.rect("window", "glass", (x - half, y, x + half, y + height))
    figure.polygon(
        "window", "glass", [(x - half, y), (x - half, y + height), (x + half, y + height)], 22
    )
    figure.rect("window", "frame", (x - 9, y, x + 9, y + height))
    figure.rect("window", "frame", (x - half - 34, y - 38, x + half + 34, y - 14), -12)


def _door(figure: Figure, x: int, width: int, height: int) -> None:
    half = width // 2
    figure.rect("door", "frame", (x - half - 22, 0, x + half + 22, height + 26))
    figure.rect("door", "wood", (x - half, 0, x + half, height))
    figure.rect("door", "wood", (x - half + 26, height // 2, x + half - 26, height - 30), 18)
    figure.circle("door", "spark", (x + half - 30, height * 2 // 5), 15)


def lamp(figure: Figure, variant: int) -> None:
    """A lantern on a post (0) or one that hangs from an arm (1)."""
    figure.polygon("post", "iron", [(-85, 0), (85, 0), (50, 70), (-50, 70)], -10)
    if variant == 0:
        figure.rect("post", "iron", (-32, 40, 32, 740))
        figure.rect("post", "iron", (4, 40, 32, 740), -28)
        figure.rect("post", "iron", (-75, 690, 75, 735), 8)
        figure.polygon("light", "lens", [(-80, 735), (80, 735), (130, 915), (-130, 915)])
        figure.polygon("light", "lens", [(-80, 735), (-20, 735), (-30, 915), (-130, 915)], 40)
        figure.polygon("light", "iron", [(-165, 905), (165, 905), (60, 980), (-60, 980)])
        figure.circle("light", "iron", (0, 978), 24, 10)
    else:
        figure.rect("post", "iron", (-32, 40, 32, 930))
        figure.rect("post", "iron", (4, 40, 32, 930), -28)
        figure.rect("post", "iron", (-32, 920, 210, 975), 6)
        figure.polygon("light", "iron", [(70, 925), (330, 925), (270, 860), (130, 860)])
        figure.ellipse("light", "lens", (200, 850), (110, 80))
        figure.ellipse("light", "lens", (175, 865), (55, 42), 45)
