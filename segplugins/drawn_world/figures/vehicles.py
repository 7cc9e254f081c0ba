"""Cars, boats and rockets."""

from ..figure import Figure


def car(figure: Figure, variant: int) -> None:
    """A saloon (0), a van (1) or a beetle (2); all drive to the right."""
    (_saloon, _van, _beetle)[variant](figure)


def _saloon(figure: Figure) -> None:
    figure.polygon(
        "body",
        "main",
        [
            (-1060, 190),
            (-1070, 500),
            (-980, 610),
            (-620, 640),
            (-360, 960),
            (-260, 1000),
            (300, 1000),
            (400, 950),
            (680, 630),
            (960, 570),
            (1070, 470),
            (1075, 190),
        ],
    )
    figure.polygon("body", "main", [(-1065, 330), (-1062, 190), (1075, 190), (1075, 330)], -26)
    figure.polygon(
        "body",
        "main",
        [(-1040, 560), (-980, 610), (-620, 640), (680, 630), (960, 570), (-980, 555)],
        24,
    )
    figure.polygon("window", "glass", [(-500, 650), (-295, 920), (-10, 920), (-10, 650)])
    figure.polygon("window", "glass", [(60, 650), (60, 920), (310, 920), (550, 650)])
    figure.polygon("window", "glass", [(60, 650), (60, 920), (180, 920)], 24)
    figure.polygon("window", "glass", [(-500, 650), (-295, 920), (-180, 920)], 24)
    figure.rect("body", "main", (10, 230, 34, 640), -40)
    figure.rect("body", "frame", (-160, 510, -40, 545), -8)
    _lights(figure, 1010, -1010, 450)
    _wheels(figure, -610, 630, 235)


def _van(figure: Figure) -> None:
    figure.polygon(
        "body",
        "main",
        [
            (-1040, 170),
            (-1060, 900),
            (-980, 1000),
            (560, 1000),
            (680, 940),
            (880, 600),
            (1050, 530),
            (1080, 430),
            (1080, 170),
        ],
    )
    figure.polygon("body", "main", [(-1048, 440), (-1042, 170), (1080, 170), (1080, 440)], -22)
    figure.polygon("body", "main", [(-1060, 900), (-980, 1000), (560, 1000), (680, 940)], 26)
    figure.polygon("window", "glass", [(360, 590), (360, 870), (600, 870), (760, 590)])
    figure.polygon("window", "glass", [(360, 590), (360, 870), (480, 870)], 24)
    for left in (-860, -460, -60):
        figure.rect("window", "glass", (left, 590, left + 320, 870))
        figure.polygon("window", "glass", [(left, 590), (left, 870), (left + 180, 870)], 24)
    _lights(figure, 1020, -1000, 390)
    _wheels(figure, -600, 640, 225)


def _beetle(figure: Figure) -> None:
    figure.polygon(
        "body",
        "main",
        [
            (-960, 190),
            (-1000, 380),
            (-900, 620),
            (-620, 850),
            (-260, 985),
            (60, 1000),
            (340, 910),
            (560, 660),
            (860, 590),
            (1000, 430),
            (1010, 190),
        ],
    )
    figure.polygon("body", "main", [(-985, 320), (-960, 190), (1010, 190), (1008, 320)], -26)
    figure.polygon(
        "body", "main", [(-620, 850), (-260, 985), (60, 1000), (60, 950), (-240, 930)], 26
    )
    figure.polygon(
        "window", "glass", [(-560, 610), (-420, 790), (-220, 890), (-90, 900), (-90, 610)]
    )
    figure.polygon("window", "glass", [(-10, 610), (-10, 900), (90, 895), (270, 830), (440, 610)])
    figure.polygon("window", "glass", [(-10, 610), (-10, 900), (90, 895)], 24)
    figure.ellipse("body", "main", (-590, 260), (340, 270), 12)
    figure.ellipse("body", "main", (610, 260), (340, 270), 12)
    _lights(figure, 950, -930, 450)
    _wheels(figure, -590, 610, 225)


def _lights(figure: Figure, front: int, back: int, y: int) -> None:
    figure.ellipse("body", "spark", (front, y), (58, 62))
    figure.ellipse("body", "brake", (back, y), (48, 70))


def _wheels(figure: Figure, rear: int, front: int, radius: int) -> None:
    for x in (rear, front):
        figure.circle("wheel", "rubber", (x, radius), radius)
        figure.circle("wheel", "steel", (x, radius), radius * 55 // 100)
        figure.circle("wheel", "steel", (x, radius), radius * 22 // 100, -45)


def boat(figure: Figure, variant: int) -> None:
    """A sailing boat (0) or a fishing boat (1)."""
    (_sailing_boat, _fishing_boat)[variant](figure)


def _sailing_boat(figure: Figure) -> None:
    figure.rect("mast", "wood", (-30, 200, 6, 1000))
    figure.polygon("sail", "main", [(30, 330), (20, 985), (130, 850), (380, 345)], 14)
    figure.polygon("sail", "main", [(30, 330), (26, 520), (280, 535), (380, 345)], 2)
    figure.polygon("sail", "canvas", [(-50, 340), (-40, 900), (-140, 720), (-400, 350)])
    figure.polygon("sail", "canvas", [(-50, 340), (-45, 470), (-330, 460), (-400, 350)], -9)
    figure.polygon(
        "hull", "main", [(-560, 270), (-500, 120), (-370, 0), (370, 0), (490, 110), (580, 285)]
    )
    figure.polygon("hull", "main", [(-500, 120), (-370, 0), (370, 0), (490, 110)], -28)
    figure.polygon("hull", "frame", [(-565, 290), (-548, 238), (558, 248), (585, 305)])


def _fishing_boat(figure: Figure) -> None:
    figure.rect("mast", "wood", (-330, 380, -290, 1000))
    figure.polygon("mast", "main", [(-292, 1000), (-292, 850), (-60, 925)], 10)
    figure.rect("cabin", "frame", (-200, 360, 250, 690))
    figure.rect("cabin", "frame", (150, 360, 250, 690), -14)
    figure.rect("cabin", "main", (-250, 680, 300, 750), -10)
    figure.rect("cabin", "glass", (-140, 490, -20, 630))
    figure.rect("cabin", "glass", (50, 490, 170, 630))
    figure.polygon(
        "hull",
        "main",
        [
            (-640, 430),
            (-600, 160),
            (-470, 0),
            (440, 0),
            (560, 150),
            (700, 500),
            (460, 390),
            (-440, 380),
        ],
    )
    figure.polygon("hull", "main", [(-600, 160), (-470, 0), (440, 0), (560, 150)], -30)
    figure.polygon(
        "hull",
        "frame",
        [
            (-640, 430),
            (-632, 370),
            (-440, 330),
            (460, 340),
            (690, 450),
            (700, 500),
            (460, 390),
            (-440, 380),
        ],
    )


def rocket(figure: Figure, variant: int) -> None:
    """A slender rocket (0) or a round one (1); both fly up."""
    wide = 150 if variant == 0 else 195
    flame = [(-95, 240), (-120, 120), (-45, 70), (0, 0), (45, 70), (120, 120), (95, 240)]
    figure.polygon("flame", "flame", flame)
    figure.polygon("flame", "spark", [(-50, 240), (-50, 150), (0, 70), (50, 150), (50, 240)])
    for side, shade in ((-1, 0), (1, -16)):
        fin = [(wide - 20, 500), (wide + 90, 330), (wide + 90, 170), (wide - 40, 270)]
        figure.polygon("fins", "brake", [(side * x, y) for x, y in fin], shade)
    # The right side is shaded: the same outline, begun right of the middle.
    lit = [-wide + 40, -wide, -wide, -wide + 35, -wide // 2]
    shaded = [wide // 3, wide // 2, wide // 2, wide // 3, wide // 4]
    for left, shade in ((lit, 0), (shaded, -20)):
        right = [(wide - 35, 790), (wide, 620), (wide, 420), (wide - 40, 240)]
        body = [*zip(left, (240, 420, 620, 790)), *right]
        figure.polygon("body", "main", body, shade)
    for left, shade in ((lit, 0), (shaded, -20)):
        nose = [(left[3], 785), (left[4], 910), (0, 1000), (wide // 2, 910), (wide - 35, 785)]
        figure.polygon("nose", "brake", nose, shade)
    figure.circle("body", "frame", (0, 610), wide * 52 // 100, -6)
    figure.circle("body", "glass", (0, 610), wide * 36 // 100)
    figure.rect("fins", "brake", (-22, 190, 22, 440), -10)
    figure.rect("body", "frame", (-wide + 36, 236, wide - 36, 270), -30)
