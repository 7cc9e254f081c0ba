"""People, sheep and birds."""

from ..figure import Figure


def person(figure: Figure, variant: int) -> None:
    """Someone walking (0), standing (1) or waving (2); three faces, three heads of hair."""
    skin, hair = (("skin", "hair"), ("skin2", "hair2"), ("skin3", "hair3"))[variant]
    _legs(figure, stride=90 if variant == 0 else 35)
    _arms(figure, skin, waving=variant == 2)
    figure.polygon(
        "torso",
        "main",
        [
            (-105, 400),
            (-125, 640),
            (-150, 700),
            (-110, 765),
            (110, 765),
            (150, 700),
            (125, 640),
            (105, 400),
        ],
    )
    figure.polygon(
        "torso", "main", [(30, 400), (50, 765), (110, 765), (150, 700), (125, 640), (105, 400)], -16
    )
    figure.rect("head", skin, (-34, 745, 34, 800), -12)
    figure.circle("head", hair, (-8, 892), 106)
    figure.ellipse("head", skin, (14, 872), (88, 96))
    figure.polygon(
        "head",
        hair,
        [(-96, 900), (-80, 975), (0, 1000), (85, 970), (104, 905), (60, 935), (-40, 930)],
    )
    figure.circle("head", "eye", (48, 880), 13)


def _legs(figure: Figure, stride: int) -> None:
    figure.bar("legs", "denim", ((-45, 430), (-45 - stride, 30)), 100, -14)
    figure.bar("legs", "denim", ((45, 430), (45 + stride, 30)), 100)
    figure.ellipse("legs", "shoe", (-30 - stride, 30), (72, 32))
    figure.ellipse("legs", "shoe", (62 + stride, 30), (72, 32))


def _arms(figure: Figure, skin: str, waving: bool) -> None:
    hand = (235, 940) if waving else (215, 430)
    figure.bar("torso", "main", ((-118, 725), (-195, 470)), 74, -22)
    figure.circle("torso", skin, (-200, 440), 40)
    figure.bar("torso", "main", ((118, 725), (hand[0] - 12, hand[1] - 20)), 74, -8)
    figure.circle("torso", skin, hand, 40)


def sheep(figure: Figure, variant: int) -> None:
    """A sheep that looks ahead (0) or grazes (1)."""
    for x, shade in ((-330, -18), (250, -18), (-230, 0), (340, 0)):
        figure.rect("legs", "face", (x - 42, 0, x + 42, 420), shade)
    curls = [
        (-430, 600, 220),
        (-330, 780, 210),
        (-90, 840, 160),
        (130, 830, 165),
        (350, 770, 210),
        (440, 590, 215),
        (-300, 450, 190),
        (20, 420, 200),
        (310, 440, 190),
    ]
    for x, y, radius in curls:
        figure.circle("body", "main", (x, y), radius, -12)
    figure.ellipse("body", "main", (0, 640), (500, 250), -4)
    for x, y, radius in curls[:5]:
        figure.circle("body", "main", (x + 10, y - 20), radius * 3 // 4, 30)
    figure.ellipse("body", "main", (30, 690), (390, 170), 18)
    y = 700 if variant == 0 else 330
    figure.ellipse("head", "face", (560, y + 100), (110, 52), -20)
    figure.ellipse("head", "face", (620, y), (130, 190), 10)
    figure.circle("head", "main", (570, y + 165), 100, 20)
    figure.circle("head", "frame", (665, y + 40), 34)
    figure.circle("head", "eye", (673, y + 38), 17)


def bird(figure: Figure, variant: int) -> None:
    """A bird with the wings up (0) or down (1); it flies to the right."""
    low = 0 if variant == 0 else 380
    y = 330 + low
    figure.polygon(
        "body",
        "main",
        [(-560, y + 40), (-930, y + 150), (-860, y + 10), (-930, y - 90), (-560, y - 40)],
        -14,
    )
    if variant == 0:
        figure.polygon(
            "wing",
            "main",
            [(220, y + 90), (60, y + 560), (-200, 1000), (-330, y + 480), (-330, y + 90)],
            -26,
        )
    else:
        figure.polygon(
            "wing",
            "main",
            [(220, y - 60), (20, y - 460), (-240, 0), (-330, y - 420), (-300, y - 60)],
            -26,
        )
    figure.ellipse("body", "main", (-90, y), (560, 190))
    figure.ellipse("body", "main", (-60, y - 70), (420, 110), 24)
    figure.circle("body", "main", (460, y + 110), 195)
    figure.polygon("body", "beak", [(600, y + 190), (900, y + 90), (610, y + 40)])
    figure.circle("body", "frame", (520, y + 150), 62)
    figure.circle("body", "eye", (535, y + 150), 36)
    if variant == 0:
        figure.polygon(
            "wing",
            "main",
            [(160, y + 60), (-80, y + 470), (-420, 900), (-470, y + 380), (-380, y + 40)],
            14,
        )
    else:
        figure.polygon(
            "wing",
            "main",
            [(160, y + 20), (-60, y - 420), (-430, 90), (-460, y - 340), (-370, y + 20)],
            14,
        )
