"""Embedded flowers: 17 procedurally drawn species, made from a seed, nothing stored.

They stand in for Oxford Flowers-17 where the photographs are not at hand, with as many images (17 x 80) and about
the same difficulty. It comes from the drawing, as in the photographs: neighbouring species share their colours and
differ in the build of the flower, while light, pose, scale, number, surroundings and occlusion vary within a species.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

IMAGES_PER_SPECIES = 80
_CANVAS = 64  # pixels a side of every drawing; an image of another size is a resized drawing
_DRAWS = 640  # uniform numbers an image may use; fixed, so that images never share or shift them


@dataclass(frozen=True)
class _Species:
    """One row of the species table. Lengths are shares of the flower's radius unless noted; colours are RRGGBB."""

    name: str
    colours: str  # petal colours that occur, separated by spaces; an image has one of them
    petals: int
    point: float  # exponent of the petal outline: below 1 rounded, above 1 pointed
    fused: float  # petals are joined up to here
    disc: float
    disc_colour: str
    throat: float = 0.0  # ring around the disc
    throat_colour: str = "ffffff"
    profile: float = 0.0  # probability that a flower is seen from the side
    nods: bool = False  # seen from the side it hangs like a bell, otherwise it stands like a cup
    crowd: tuple[int, int] = (1, 3)  # flowers in an image, smallest and largest number
    size: tuple[float, float] = (0.34, 0.48)  # radius of a lone flower, as a share of the image
    spike: float = 0.0  # 0: flowers scatter evenly, 1: they sit along one stalk
    marks: float = 0.0  # strength of dark spots, 0 to 1
    lip: str = ""  # colour of the lower petals where it differs
    habitat: str = (
        "meadow meadow litter shade"  # surroundings that occur, as often as they are named
    )


_TABLE = (
    _Species(
        "amber trumpet",
        "f0d02c f4e69a e8c020",
        6,
        1.1,
        0.25,
        0.2,
        "b86a10",
        0.42,
        "ee9a18",
        0.15,
        size=(0.34, 0.50),
    ),
    _Species(
        "snow pendant",
        "f2f4ee e8ecdc",
        3,
        0.8,
        0.2,
        0.15,
        "88a850",
        profile=0.85,
        nods=True,
        crowd=(1, 5),
        size=(0.26, 0.40),
        habitat="litter shade meadow",
    ),
    _Species(
        "vale pearls",
        "f0f2e6 e4ecd0",
        6,
        0.4,
        0.7,
        0.2,
        "c8c880",
        profile=0.5,
        nods=True,
        crowd=(5, 9),
        size=(0.24, 0.34),
        spike=0.9,
        habitat="leaves leaves shade",
    ),
    _Species(
        "hazel bell",
        "6a72d0 8a86dc a79ae0",
        6,
        1.2,
        0.3,
        0.15,
        "d8d8f0",
        profile=0.7,
        nods=True,
        crowd=(4, 9),
        size=(0.30, 0.40),
        spike=0.7,
        habitat="meadow leaves shade",
    ),
    _Species(
        "dawn crocus",
        "8a50b8 b48ad8 e8e0f0",
        6,
        0.6,
        0.35,
        0.16,
        "f0a010",
        profile=0.45,
        crowd=(1, 5),
        habitat="litter litter meadow",
    ),
    _Species(
        "marsh flag",
        "7878d0 c0b8e8 e8e0d0",
        3,
        0.5,
        0.3,
        0.14,
        "e0b830",
        0.3,
        "f0f0e8",
        crowd=(1, 2),
        lip="5a48a8",
        habitat="leaves meadow sky",
    ),
    _Species(
        "ember lily",
        "e0602c d83c24 eca030",
        6,
        1.6,
        0.12,
        0.12,
        "7a2a12",
        profile=0.2,
        crowd=(1, 3),
        marks=0.7,
        habitat="leaves shade sky",
    ),
    _Species(
        "field tulip",
        "ecc428 e4a428 d84838",
        6,
        1.5,
        0.3,
        0.12,
        "8a9030",
        profile=0.65,
        crowd=(1, 4),
        size=(0.28, 0.44),
    ),
    _Species(
        "chequer bell",
        "8a3858 a05878 d8c8c8",
        6,
        0.8,
        0.4,
        0.12,
        "c0c070",
        profile=0.8,
        nods=True,
        crowd=(1, 3),
        marks=0.8,
        habitat="meadow litter meadow",
    ),
    _Species(
        "sun wheel",
        "f0b818 ecc830 d88818",
        17,
        1.0,
        0.5,
        0.45,
        "4a2a14",
        crowd=(1, 2),
        habitat="leaves sky sky",
    ),
    _Species("moon daisy", "f4f4f0 f0e8f0 e8d8e8", 15, 0.9, 0.55, 0.3, "e8b41c", crowd=(1, 5)),
    _Species(
        "foal foot",
        "f0cc20 ecb81c",
        21,
        0.6,
        0.6,
        0.32,
        "d08a14",
        crowd=(1, 5),
        size=(0.26, 0.44),
        habitat="litter litter meadow",
    ),
    _Species("lion mane", "f2cc1c eec428", 13, 1.2, 0.6, 0.4, "f4dc40", crowd=(1, 3)),
    _Species(
        "key cluster",
        "ecd44c e8dc78 e8b830",
        5,
        0.6,
        0.5,
        0.2,
        "e8a020",
        profile=0.5,
        nods=True,
        crowd=(5, 9),
        size=(0.26, 0.36),
        spike=0.3,
    ),
    _Species(
        "butter bowl", "f4d014 f0b414", 5, 0.35, 0.6, 0.16, "b8a820", profile=0.15, crowd=(1, 4)
    ),
    _Species(
        "wind star",
        "f2f0f0 e4dcec",
        7,
        0.7,
        0.15,
        0.17,
        "d8d060",
        profile=0.1,
        crowd=(1, 4),
        habitat="litter shade leaves",
    ),
    _Species(
        "masked viola",
        "6a3a9c f0e8e8 e8b828",
        5,
        0.3,
        0.6,
        0.1,
        "f0c020",
        0.36,
        "2c1440",
        crowd=(1, 3),
        lip="e8d040",
        habitat="litter leaves meadow",
    ),
)
SPECIES: tuple[str, ...] = tuple(species.name for species in _TABLE)

# Ground, and the leaves and blades over it.
_HABITATS = {
    "meadow": ("5a6c48", "809c58"),
    "litter": ("7a6856", "948868"),
    "shade": ("282e22", "42583a"),
    "leaves": ("466844", "5e8c52"),
    "sky": ("9cacbc", "78905c"),
}


def draw_flowers(image_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the data set: 80 images of each of the 17 species, ordered by species.

    Args: image_size, pixels a side, at least 1; the same seed gives the same drawings at another resolution.
        seed, a non-negative integer.
    Returns: images, uint8 (1360, image_size, image_size, 3), RGB 0 to 255; labels, int64 (1360,), 0 to 16, the
        index into SPECIES.
    Raises: ValueError if image_size is below 1 or seed is negative.
    """
    if image_size < 1 or seed < 0:
        raise ValueError(
            f"image_size must be at least 1 and seed at least 0, not {image_size} and {seed}"
        )
    images = np.concatenate([_draw_species(label, seed) for label in range(len(_TABLE))])
    if image_size != _CANVAS:
        # Averaging over boxes keeps sizes consistent: 64 -> 32 -> 16 is 64 -> 16 but for rounding.
        method = Image.Resampling.BOX if image_size < _CANVAS else Image.Resampling.BICUBIC
        size = (image_size, image_size)
        images = np.stack(
            [np.asarray(Image.fromarray(image).resize(size, method)) for image in images]
        )
    return images, np.repeat(np.arange(len(_TABLE), dtype=np.int64), IMAGES_PER_SPECIES)


def _draw_species(label: int, seed: int) -> np.ndarray:
    """All images of one species, uint8 (80, 64, 64, 3). A canvas is (3, images, 64, 64), so that masks broadcast."""
    species = _TABLE[label]
    table = [
        np.random.default_rng([seed, label, i]).random(_DRAWS, np.float32)
        for i in range(IMAGES_PER_SPECIES)
    ]
    draws = iter(np.stack(table, 1))  # each next() is one uniform number per image
    canvas, foliage = _surroundings(species, draws)
    _flowers(canvas, species, draws, foliage)
    for _ in range(2):  # something grows in front of the flower in part of the images
        seen = (next(draws) < 0.3).astype(np.float32)
        _leaf(canvas, draws, foliage, length=(0.3, 0.8), width=(0.015, 0.07), opacity=seen)
    _light(canvas, draws)
    return np.rint(canvas.transpose(1, 2, 3, 0) * 255).astype(np.uint8)


def _rgb(colours: str) -> np.ndarray:
    """Colours RRGGBB separated by spaces -> float32 (3, colours), 0 to 1."""
    rows = [[int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] for colour in colours.split()]
    return np.array(rows, np.float32).T


def _between(draws: Iterator[np.ndarray], low: float, high: float) -> np.ndarray:
    """One uniform number per image in [low, high)."""
    return low + (high - low) * next(draws)


def _choose(draws: Iterator[np.ndarray], colours: str, spread: float) -> np.ndarray:
    """One of the colours per image, jittered in lightness and hue by about spread: (3, images)."""
    palette = _rgb(colours)
    chosen = palette[:, (next(draws) * palette.shape[1]).astype(int)]
    chosen = chosen * _between(draws, 1 - spread, 1 + spread / 2)
    return chosen + np.stack([_between(draws, -spread / 3, spread / 3) for _ in range(3)])


def _paint(canvas: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Lay colour (3, images) or (3, images, h, w) over the canvas where mask (images, h, w) is 1, in place."""
    if colour.ndim == 2:
        colour = colour[:, :, None, None]
    canvas += mask * (colour - canvas)


def _pixels(centre_y: np.ndarray, centre_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of all pixels from a centre per image, in image sides: (images, 64, 1) and (images, 1, 64)."""
    axis = (np.arange(_CANVAS, dtype=np.float32) + 0.5) / _CANVAS
    return axis[None, :, None] - centre_y[:, None, None], axis[None, None, :] - centre_x[
        :, None, None
    ]


def _leaf(
    canvas: np.ndarray,
    draws: Iterator[np.ndarray],
    colour: np.ndarray,
    length: tuple[float, float],
    width: tuple[float, float],
    opacity: np.ndarray,
    blur: float = 0.02,
) -> None:
    """A bent leaf per image: a blade of grass if narrow, an unsharp blossom behind if as wide as long."""
    dy, dx = _pixels(next(draws), next(draws))
    angle, bend = (
        _between(draws, -np.pi, np.pi)[:, None, None],
        _between(draws, -1, 1)[:, None, None],
    )
    long, wide = _between(draws, *length)[:, None, None], _between(draws, *width)[:, None, None]
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle) + bend * along * along
    mask = np.clip((wide * (1 - (along / long) ** 2) - np.abs(across)) / blur + 0.5, 0, 1)
    shade = _between(draws, 0.5, 1.35)
    _paint(canvas, mask * opacity[:, None, None], colour * shade)


def _surroundings(species: _Species, draws: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ground with texture, leaves, blades and unsharp blossoms -> canvas, colour of the foliage (3, images)."""
    names = species.habitat.split() + ["meadow"]  # any flower may stand in a meadow
    grounds = np.stack([_rgb(" ".join(_HABITATS[name])) for name in names], 1)  # 3, habitats, 2
    habitat = grounds[:, (next(draws) * len(names)).astype(int)]
    ground = habitat[:, :, 0] * _between(draws, 0.5, 1.3)
    foliage = habitat[:, :, 1] * _between(draws, 0.7, 1.3) + _between(draws, -0.08, 0.08)
    canvas = np.empty((3, len(ground[0]), _CANVAS, _CANVAS), np.float32)
    canvas[:] = ground[:, :, None, None]
    for cells, strength in ((4, 0.4), (14, 0.4)):  # large patches, then grain
        grid = (
            np.stack([next(draws) for _ in range(cells * cells)], -1).reshape(-1, cells, cells)
            - 0.5
        )
        at = np.linspace(0, cells - 1, _CANVAS, dtype=np.float32)[:, None] - np.arange(cells)
        blend = np.maximum(1 - np.abs(at), 0).astype(np.float32)
        canvas *= 1 + strength * 2 * (blend @ grid @ blend.T)
    always = np.ones(len(ground[0]), np.float32)
    for _ in range(2):
        _leaf(canvas, draws, foliage, length=(0.2, 0.5), width=(0.05, 0.2), opacity=always)
    for _ in range(4):
        _leaf(canvas, draws, foliage, length=(0.3, 0.9), width=(0.01, 0.05), opacity=always)
    for _ in range(2):
        seen = 0.8 * (next(draws) < 0.3).astype(np.float32)
        blossom = _choose(draws, "f0d020 f0f0f0 8a60c0 e05030 d080a0", 0.2)
        _leaf(
            canvas,
            draws,
            blossom,
            length=(0.06, 0.16),
            width=(0.06, 0.16),
            opacity=seen,
            blur=0.12,
        )
    return canvas, foliage


def _flowers(
    canvas: np.ndarray, species: _Species, draws: Iterator[np.ndarray], foliage: np.ndarray
) -> None:
    """Place and draw the flowers of every image, the later ones over the earlier ones."""
    low, high = species.crowd
    count = low + (next(draws) ** 1.5 * (high - low + 1)).astype(int)
    crowding = count.astype(np.float32)
    size = _between(draws, *species.size) * crowding**-0.4
    turn, lean, narrow = (
        next(draws) * 2 * np.pi,
        _between(draws, -0.5, 0.5),
        1 - 0.8 * species.spike,
    )
    middle_y, middle_x = _between(draws, 0.36, 0.64), _between(draws, 0.36, 0.64)
    petal = _choose(draws, species.colours, 0.18)
    lip = _choose(draws, species.lip, 0.18) if species.lip else petal
    disc = _choose(draws, species.disc_colour, 0.15)
    throat = _choose(draws, species.throat_colour, 0.15)
    for k in range(high):
        shown = np.flatnonzero(count > k)
        # Golden-angle spiral: even without looking regular, whatever the number of flowers.
        reach = 0.36 * np.sqrt((k + 0.5) / crowding) * (count > 1)
        down = reach * np.sin(turn + 2.4 * k) + _between(draws, -0.06, 0.06)
        aside = (
            reach * np.cos(turn + 2.4 * k) * narrow
            + down * lean * species.spike
            + _between(draws, -0.06, 0.06)
        )
        radius = size * _between(draws, 0.75, 1.15)
        pose = {
            "centre_y": middle_y + down,
            "centre_x": middle_x + aside,
            "radius": radius,
            "turn": _between(draws, -np.pi, np.pi),
            "axis": _between(draws, 0, np.pi),
            "squeeze": _between(draws, 0.5, 1.0),
            "side": next(draws) < species.profile,
        }
        tone = _between(draws, 0.9, 1.1)
        if len(shown):
            colours = np.stack([petal * tone, lip * tone, disc, throat])[:, :, shown]
            _flower(
                canvas, species, shown, colours, {key: value[shown] for key, value in pose.items()}
            )


def _flower(
    canvas: np.ndarray, species: _Species, shown: np.ndarray, colours: np.ndarray, pose: dict
) -> None:
    """One flower in each of the shown images. Only the tile around it is touched, which halves the time."""
    tile = min(_CANVAS, 2 * int(np.ceil(pose["radius"].max() * _CANVAS)) + 2)
    corner = [
        np.clip(np.rint(pose[key] * _CANVAS - tile / 2), 0, _CANVAS - tile).astype(int)
        for key in ("centre_y", "centre_x")
    ]
    rows, columns = (start[:, None] + np.arange(tile) for start in corner)
    where = (slice(None), shown[:, None, None], rows[:, :, None], columns[:, None, :])
    part = canvas[where]
    one = {key: value[:, None, None] for key, value in pose.items()}
    dy = ((rows + 0.5) / _CANVAS)[:, :, None].astype(np.float32) - one["centre_y"]
    dx = ((columns + 0.5) / _CANVAS)[:, None, :].astype(np.float32) - one["centre_x"]
    dy, dx = dy / one["radius"], dx / one["radius"]
    edge = _CANVAS * one["radius"] / 1.5  # masks fade over 1.5 pixels
    for draw, chosen in ((_face, ~pose["side"]), (_side, pose["side"])):
        if chosen.any():
            some = part[:, chosen]
            draw(
                some,
                species,
                dy[chosen],
                dx[chosen],
                edge[chosen],
                colours[:, :, chosen],
                {key: value[chosen] for key, value in one.items()},
            )
            part[:, chosen] = some
    canvas[where] = part


def _face(
    part: np.ndarray,
    species: _Species,
    dy: np.ndarray,
    dx: np.ndarray,
    edge: np.ndarray,
    colours: np.ndarray,
    one: dict,
) -> None:
    """A flower seen from the front, foreshortened along one axis: petals, throat, disc."""
    petal, lip, disc, throat = colours
    cos, sin = np.cos(one["axis"]), np.sin(one["axis"])
    along, across = dx * cos + dy * sin, (dy * cos - dx * sin) / one["squeeze"]
    radius = np.sqrt(along * along + across * across)
    turn = one["turn"] * (0.1 if species.lip else 1.0)  # flowers with a lip stand upright
    angle = np.arctan2(across, along) + one["axis"] + turn
    ridge = np.abs(
        np.cos(species.petals / 2 * (angle - np.pi / 2))
    )  # 1 in the middle of a petal, 0 between two
    outline = species.fused + (1 - species.fused) * ridge**species.point
    mask = np.clip((outline - radius) * edge + 0.5, 0, 1)
    shade = (0.7 + 0.3 * ridge) * (0.8 + 0.25 * radius)
    if species.marks:
        spots = np.sin(9 * along) * np.sin(9 * across)
        shade *= 1 - species.marks * np.clip(3 * np.abs(spots) - 1.2, 0, 1)
    colour = petal[:, :, None, None] * shade
    if species.lip:
        lower = np.clip(3 * np.sin(angle) + 0.2, 0, 1)
        colour += lower * (lip - petal)[:, :, None, None] * shade
    _paint(part, mask, colour)
    if species.throat:
        _paint(
            part,
            np.clip((species.throat * (0.7 + 0.3 * ridge) - radius) * edge + 0.5, 0, 1),
            throat,
        )
    _paint(
        part,
        np.clip((species.disc - radius) * edge + 0.5, 0, 1),
        disc[:, :, None, None] * (0.7 + 0.5 * np.clip(radius / species.disc, 0, 1)),
    )


def _side(
    part: np.ndarray,
    species: _Species,
    dy: np.ndarray,
    dx: np.ndarray,
    edge: np.ndarray,
    colours: np.ndarray,
    one: dict,
) -> None:
    """A flower seen from the side: a bell that hangs or a cup that stands, with the tips of its petals."""
    petal, lip, _, throat = colours
    lean = one["turn"] * 0.2 + (0.0 if species.nods else np.pi)
    down, across = dy * np.cos(lean) + dx * np.sin(lean), dx * np.cos(lean) - dy * np.sin(lean)
    depth = np.clip((down + 0.9) / 1.7, 0, 1)  # 0 at the stalk, 1 at the mouth
    swell = 0.7 + 0.3 * depth**3 if species.nods else 1.15 - 0.4 * depth
    width = (0.35 + 0.35 * one["squeeze"]) * depth**0.4 * swell
    fold = np.abs(np.cos(2.2 * across / (0.2 + width)))
    mouth = 0.8 - 0.5 * (1 - species.fused) * (1 - fold**species.point)
    mask = np.clip((width - np.abs(across)) * edge + 0.5, 0, 1) * np.clip(
        (mouth - down) * edge + 0.5, 0, 1
    )
    shade = (0.65 + 0.35 * fold) * (0.8 + 0.25 * depth)
    if species.marks:
        spots = np.sin(9 * down) * np.sin(9 * across)
        shade *= 1 - species.marks * np.clip(3 * np.abs(spots) - 1.2, 0, 1)
    colour = petal[:, :, None, None] * shade
    if species.throat:
        colour += np.clip(4 * depth - 3, 0, 1) * (throat - petal)[:, :, None, None]
    _paint(part, mask, colour)


def _light(canvas: np.ndarray, draws: Iterator[np.ndarray]) -> None:
    """Exposure, tint, a soft shadow from one side and the curve of a camera, in place; leaves values in 0 to 1."""
    dy, dx = _pixels(_between(draws, 0.3, 0.7), _between(draws, 0.3, 0.7))
    angle = _between(draws, -np.pi, np.pi)[:, None, None]
    depth = next(draws)[:, None, None] ** 2 * 0.5
    shadow = 1 - depth * np.clip(0.5 + 3 * (dx * np.cos(angle) + dy * np.sin(angle)), 0, 1)
    tint = np.stack([_between(draws, 0.85, 1.15) for _ in range(3)])
    exposure = np.exp(_between(draws, -0.2, 0.4))
    canvas *= shadow * (tint * exposure)[:, :, None, None]
    np.clip(canvas, 0, 1, out=canvas)
    canvas *= 0.5 + canvas * (1.5 - canvas)  # half way to the smooth step 3x^2 - 2x^3
