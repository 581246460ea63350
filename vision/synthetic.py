"""Embedded flowers: 17 species, drawn procedurally from a seed; no image is stored.

They replace Oxford Flowers-17 if the photographs are not available: as many images, difficult
for the same reasons, but easier. Neighbouring species share colours and differ in shape; light,
pose, scale, number, surroundings and occlusion vary within a species. No pixel or label is noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

IMAGES_PER_SPECIES = 80
_CANVAS = 64  # side of every drawing, in pixels; images of other sizes are resized drawings
_DRAWS = 640  # uniform random numbers per image, more than any species needs


@dataclass(frozen=True)
class _Species:
    """One row of the species table: lengths in radii of the flower, colours as RRGGBB."""

    name: str
    colours: str  # of the petals, separated by spaces; the flowers of an image share one
    petals: int
    point: float  # exponent of a petal's outline: below 1 rounded, above 1 pointed
    fused: float  # petals are joined up to this radius
    disc: float
    disc_colour: str
    throat: float = 0.0  # radius of a ring around the disc
    throat_colour: str = "ffffff"
    profile: float = 0.0  # probability that a flower is seen from the side
    nods: bool = False  # from the side: a hanging bell if true, else a standing cup
    crowd: tuple[int, int] = (1, 4)  # smallest and largest number of flowers in an image
    size: tuple[float, float] = (0.34, 0.48)  # radius of a lone flower, in image sides
    spike: float = 0.0  # 0: flowers scatter evenly; 1: they sit along one stalk
    marks: float = 0.0  # strength of dark spots, 0 to 1
    lip: str = ""  # colour of the lower petals where it differs
    habitat: str = "meadow meadow litter shade"  # surroundings; named twice: twice as likely


# fmt: off
_TABLE = (
    _Species("amber trumpet", "f0d02c f4e69a e8c020", 6, 1.1, 0.25, 0.2, "b86a10",
             throat=0.42, throat_colour="ee9a18", profile=0.15),
    _Species("snow pendant", "f2f4ee e8ecdc", 3, 0.8, 0.2, 0.15, "88a850", profile=0.85, nods=True,
             crowd=(1, 5), size=(0.26, 0.4), habitat="litter shade meadow"),
    _Species("vale pearls", "f0f2e6 e4ecd0", 6, 0.4, 0.7, 0.2, "c8c880", profile=0.5, nods=True,
             crowd=(5, 9), size=(0.24, 0.34), spike=0.9, habitat="leaves leaves shade"),
    _Species("hazel bell", "6a72d0 8a86dc a79ae0 ece8f0", 6, 1.2, 0.3, 0.15, "d8d8f0", profile=0.7,
             nods=True, crowd=(4, 9), size=(0.3, 0.4), spike=0.7, habitat="meadow leaves shade"),
    _Species("dawn crocus", "8a50b8 b48ad8 e8e0f0 ecc040", 6, 0.6, 0.35, 0.16, "f0a010",
             profile=0.45, crowd=(1, 5), habitat="litter litter meadow"),
    _Species("marsh flag", "7878d0 c0b8e8 e8e0d0", 3, 0.5, 0.3, 0.14, "e0b830", lip="5a48a8",
             throat=0.3, throat_colour="f0f0e8", crowd=(1, 2), habitat="leaves meadow sky"),
    _Species("ember lily", "e0602c d83c24 eca030", 6, 1.6, 0.12, 0.12, "7a2a12", profile=0.2,
             marks=0.7, habitat="leaves shade sky"),
    _Species("field tulip", "ecc428 e4a428 d84838", 6, 1.5, 0.3, 0.12, "8a9030", profile=0.65),
    _Species("chequer bell", "8a3858 a05878 d8c8c8", 6, 0.8, 0.4, 0.12, "c0c070", profile=0.8,
             nods=True, marks=0.8, habitat="meadow litter meadow"),
    _Species("sun wheel", "f0b818 ecc830 d88818", 17, 1.0, 0.5, 0.45, "4a2a14", crowd=(1, 2),
             habitat="leaves sky sky"),
    _Species("moon daisy", "f4f4f0 f0e8f0 d8b8e0", 15, 0.9, 0.55, 0.3, "e8b41c", crowd=(1, 5)),
    _Species("foal foot", "f0cc20 ecb81c", 21, 0.6, 0.6, 0.32, "d08a14", crowd=(1, 5),
             size=(0.26, 0.44), habitat="litter litter meadow"),
    _Species("lion mane", "f2cc1c eec428", 17, 1.0, 0.6, 0.36, "e8b81c", size=(0.3, 0.46)),
    _Species("key cluster", "ecd44c e8dc78 e8b830", 5, 0.6, 0.5, 0.2, "e8a020", profile=0.5,
             nods=True, crowd=(5, 9), size=(0.26, 0.36), spike=0.3),
    _Species("butter bowl", "f4d014 f0b414", 5, 0.35, 0.6, 0.2, "c8a01c", profile=0.15),
    _Species("wind star", "f2f0f0 e4dcec 9c8cd8", 7, 0.7, 0.15, 0.17, "d8d060", profile=0.1,
             habitat="litter shade leaves"),
    _Species("masked viola", "6a3a9c f0e8e8 e8b828", 5, 0.3, 0.6, 0.1, "f0c020", lip="e8d040",
             throat=0.36, throat_colour="2c1440", habitat="litter leaves meadow"),
)
_HABITATS = {  # colours of the ground, and of the leaves and blades over it
    "meadow": "5a6c48 809c58", "litter": "7a6856 948868", "shade": "282e22 42583a",
    "leaves": "466844 5e8c52", "sky": "9cacbc 78905c",
}
# fmt: on
SPECIES: tuple[str, ...] = tuple(species.name for species in _TABLE)

# Arrays broadcast over images: a number is (images, 1, 1), a colour (3, images, 1, 1), a mask
# (images, height, width), a canvas (3, images, height, width). Colours and masks are 0 to 1.
_Array = np.ndarray
_Draws = Iterator[_Array]  # each next() is one uniform number per image
_Pose = dict[str, _Array]  # numbers and colours of one flower per image
_View = Callable[[_Array, _Species, _Pose, _Array, _Array], None]
_Range = tuple[float, float]


def draw_flowers(image_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the data set: 80 images of each of the 17 species, ordered by species.

    Args: image_size, pixels a side, at least 1 (other sizes are the same drawings, resized); seed,
        0 or more.
    Returns: images, uint8 (1360, image_size, image_size, 3), RGB, 0 to 255; labels, int64 (1360,),
        0 to 16, the index into SPECIES.
    """
    images = np.concatenate([_draw_species(label, seed) for label in range(len(_TABLE))])
    if image_size != _CANVAS:
        # Means over boxes agree between sizes: 64 -> 32 -> 16 is 64 -> 16 except for rounding.
        method = Image.Resampling.BOX if image_size < _CANVAS else Image.Resampling.BICUBIC
        size = (image_size, image_size)
        images = np.stack([np.asarray(Image.fromarray(i).resize(size, method)) for i in images])
    return images, np.repeat(np.arange(len(_TABLE), dtype=np.int64), IMAGES_PER_SPECIES)


def _draw_species(label: int, seed: int) -> _Array:
    """All images of one species, uint8 (80, 64, 64, 3)."""
    species = _TABLE[label]
    generators = [np.random.default_rng([seed, label, i]) for i in range(IMAGES_PER_SPECIES)]
    table = np.stack([generator.random(_DRAWS, np.float32) for generator in generators], 1)
    draws = iter(table[:, :, None, None])
    canvas, foliage = _surroundings(species, draws)
    _flowers(canvas, species, draws)
    for _ in range(2):  # in some images a leaf is in front of the flower
        _leaf(canvas, draws, foliage, chance=0.4, length=(0.3, 0.8), width=(0.015, 0.07))
    _light(canvas, draws)
    return np.rint(canvas.transpose(1, 2, 3, 0) * 255).astype(np.uint8)


def _between(draws: _Draws, low: float, high: float) -> _Array:
    return low + (high - low) * next(draws)


def _palette(colours: str) -> _Array:
    """Colours RRGGBB separated by spaces -> float32 (3, colours)."""
    rows = [[int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] for colour in colours.split()]
    return np.array(rows, np.float32).T


def _choose(draws: _Draws, colours: str, spread: float) -> _Array:
    """One of the colours per image, varied in lightness and, less, in hue."""
    palette = _palette(colours)
    chosen = palette[:, (next(draws) * palette.shape[1]).astype(int)]
    chosen = chosen * _between(draws, 1 - spread, 1 + spread / 2)
    return chosen + np.stack([_between(draws, -spread / 3, spread / 3) for _ in range(3)])


def _paint(canvas: _Array, mask: _Array, colour: _Array) -> None:
    canvas += mask * (colour - canvas)


def _offsets(centre_y: _Array, centre_x: _Array) -> tuple[_Array, _Array]:
    """From a centre to all pixels, in image sides: down (images, 64, 1), right (images, 1, 64)."""
    axis = (np.arange(_CANVAS, dtype=np.float32) + 0.5) / _CANVAS
    return axis[:, None] - centre_y, axis - centre_x


def _leaf(
    canvas: _Array, draws: _Draws, colour: _Array, chance: float, length: _Range, width: _Range
) -> None:
    """Draws a bent leaf with probability `chance`: grass if narrow, a blurred blossom if round."""
    dy, dx = _offsets(next(draws), next(draws))
    angle, bend = _between(draws, -np.pi, np.pi), _between(draws, -1, 1)
    long, wide = _between(draws, *length), _between(draws, *width)
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle) + bend * along * along
    within = wide * (1 - (along / long) ** 2) - np.abs(across)
    mask = np.clip(within / np.maximum(0.02, wide / 2) + 0.5, 0, 1) * (next(draws) < chance)
    _paint(canvas, mask, colour * _between(draws, 0.5, 1.2))


def _surroundings(species: _Species, draws: _Draws) -> tuple[_Array, _Array]:
    """Ground, leaves, blades and blossoms out of focus -> canvas, colour of the foliage."""
    names = species.habitat.split() + ["meadow"]  # any species may be in a meadow
    habitats = np.stack([_palette(_HABITATS[name]) for name in names], 1)
    ground, foliage = np.moveaxis(habitats[:, (next(draws) * len(names)).astype(int)], -1, 0)
    canvas = np.tile(ground * _between(draws, 0.55, 1.05), (_CANVAS, _CANVAS))
    foliage = foliage * _between(draws, 0.7, 1.3) + _between(draws, -0.08, 0.08)
    for cells in (4, 14):  # large patches, then texture, both smooth
        grid = np.concatenate([next(draws) for _ in range(cells**2)], -1)
        at = np.linspace(0, cells - 1, _CANVAS, dtype=np.float32)[:, None]
        blend = np.maximum(1 - np.abs(at - np.arange(cells, dtype=np.float32)), 0)
        canvas *= 1 + 0.8 * (blend @ (grid.reshape(-1, cells, cells) - 0.5) @ blend.T)
    for _ in range(2):
        _leaf(canvas, draws, foliage, chance=1, length=(0.2, 0.5), width=(0.05, 0.2))
    for _ in range(4):
        _leaf(canvas, draws, foliage, chance=1, length=(0.3, 0.9), width=(0.01, 0.05))
    for _ in range(2):
        blossom = _choose(draws, "d0b830 c8c8c0 8068a8 c06848 b88098", 0.2)
        _leaf(canvas, draws, blossom, chance=0.2, length=(0.06, 0.16), width=(0.06, 0.16))
    return canvas, foliage


def _flowers(canvas: _Array, species: _Species, draws: _Draws) -> None:
    """Place and draw the flowers of every image, later ones over earlier ones."""
    low, high = species.crowd
    count = low + np.floor(next(draws) ** 1.5 * (high - low + 1))
    size = _between(draws, *species.size) * count**-0.4
    turn, lean = next(draws) * 2 * np.pi, _between(draws, -0.5, 0.5) * species.spike
    middle_y, middle_x = _between(draws, 0.36, 0.64), _between(draws, 0.36, 0.64)
    petal = _choose(draws, species.colours, 0.13)
    lip = _choose(draws, species.lip, 0.18) if species.lip else petal
    disc = _choose(draws, species.disc_colour, 0.15)
    throat = _choose(draws, species.throat_colour, 0.15)
    for k in range(high):
        # A golden-angle spiral is even without looking regular, whatever the number.
        reach = 0.36 * np.sqrt((k + 0.5) / count) * (count > 1)
        down = reach * np.sin(turn + 2.4 * k) + _between(draws, -0.06, 0.06)
        right = reach * np.cos(turn + 2.4 * k) * (1 - 0.8 * species.spike)
        right = right + down * lean + _between(draws, -0.06, 0.06)
        pose = {
            "centre": np.stack([middle_y + down, middle_x + right]),
            "radius": size * _between(draws, 0.75, 1.15),
            "turn": _between(draws, -np.pi, np.pi),
            "axis": _between(draws, 0, np.pi),  # of the foreshortening
            "squeeze": _between(draws, 0.45, 1.0),
            "bloom": _between(draws, 0.6, 1.4),  # how far open
        }
        side, tone = next(draws) < species.profile, _between(draws, 0.9, 1.1)
        pose |= {"petal": petal * tone, "lip": lip * tone, "disc": disc, "throat": throat}
        for view, seen in ((_face, ~side), (_side, side)):
            shown = np.flatnonzero(seen & (count > k))
            if len(shown):
                some = {key: value[..., shown, :, :] for key, value in pose.items()}
                _flower(canvas, species, view, shown, some)


def _flower(canvas: _Array, species: _Species, view: _View, shown: _Array, pose: _Pose) -> None:
    """Draws a flower in each of the shown images, on the tile around it to save time."""
    tile = min(_CANVAS, 2 * int(np.ceil(pose["radius"].max() * _CANVAS)) + 2)
    corner = np.clip(np.rint(pose["centre"] * _CANVAS - tile / 2), 0, _CANVAS - tile)
    top, left = corner.astype(int)
    rows, columns = top + np.arange(tile)[:, None], left + np.arange(tile)
    where = (slice(None), shown[:, None, None], rows, columns)
    dy = ((rows.astype(np.float32) + 0.5) / _CANVAS - pose["centre"][0]) / pose["radius"]
    dx = ((columns.astype(np.float32) + 0.5) / _CANVAS - pose["centre"][1]) / pose["radius"]
    part = canvas[where]
    view(part, species, pose, dy, dx)
    canvas[where] = part


def _inside(distance: _Array, pose: _Pose) -> _Array:
    """Mask of a signed distance to an outline in radii, antialiased over 1.5 pixels."""
    return np.clip(distance * (pose["radius"] * _CANVAS / 1.5) + 0.5, 0, 1)


def _spots(species: _Species, a: _Array, b: _Array) -> _Array:
    """Factor that darkens spots on a lattice in the flower's coordinates a and b."""
    return 1 - species.marks * np.clip(3 * np.abs(np.sin(9 * a) * np.sin(9 * b)) - 1.2, 0, 1)


def _face(part: _Array, species: _Species, pose: _Pose, dy: _Array, dx: _Array) -> None:
    """Flowers seen from the front, foreshortened along one axis: petals, throat, disc."""
    cos, sin, bloom = np.cos(pose["axis"]), np.sin(pose["axis"]), pose["bloom"]
    along, across = dx * cos + dy * sin, (dy * cos - dx * sin) / pose["squeeze"]
    radius = np.sqrt(along * along + across * across)
    turn = pose["turn"] * (0.1 if species.lip else 1.0)  # flowers with a lip stand upright
    angle = np.arctan2(across, along) + pose["axis"] + turn
    ridge = np.abs(np.cos(species.petals / 2 * (angle - np.pi / 2)))  # 1 along a petal, 0 between
    fused = np.minimum(species.fused * (0.5 + 0.5 * bloom), 0.9)
    shade = (0.7 + 0.3 * ridge) * (0.8 + 0.25 * radius)
    if species.marks:
        shade *= _spots(species, along, across)
    colour = pose["petal"] * shade
    if species.lip:
        lower = np.clip(3 * np.sin(angle) + 0.2, 0, 1)
        colour += lower * (pose["lip"] - pose["petal"]) * shade
    _paint(part, _inside(fused + (1 - fused) * ridge**species.point - radius, pose), colour)
    if species.throat:
        ring = species.throat * bloom * (0.7 + 0.3 * ridge)
        _paint(part, _inside(ring - radius, pose), pose["throat"])
    disc = species.disc * bloom
    dome = 0.7 + 0.5 * np.clip(radius / disc, 0, 1)
    _paint(part, _inside(disc - radius, pose), pose["disc"] * dome)


def _side(part: _Array, species: _Species, pose: _Pose, dy: _Array, dx: _Array) -> None:
    """Flowers seen from the side: a bell that hangs or a cup that stands, with petal tips."""
    lean = pose["turn"] * 0.2 + np.float32(0 if species.nods else np.pi)
    down, across = dy * np.cos(lean) + dx * np.sin(lean), dx * np.cos(lean) - dy * np.sin(lean)
    depth = np.clip((down + 0.9) / 1.7, 0, 1)  # 0 at the stalk, 1 at the mouth
    swell = 0.7 + 0.3 * depth**3 if species.nods else 1.15 - 0.4 * depth
    width = (0.35 + 0.35 * pose["squeeze"]) * depth**0.4 * swell
    fold = np.abs(np.cos(2.2 * across / (0.2 + width)))
    mouth = 0.8 - 0.5 * (1 - species.fused) * (1 - fold**species.point)
    shade = (0.65 + 0.35 * fold) * (0.8 + 0.25 * depth)
    if species.marks:
        shade *= _spots(species, down, across)
    colour = pose["petal"] * shade
    _paint(part, _inside(width - np.abs(across), pose) * _inside(mouth - down, pose), colour)


def _light(canvas: _Array, draws: _Draws) -> None:
    """A soft shadow from one side, tint, exposure and a camera's contrast curve."""
    dy, dx = _offsets(_between(draws, 0.3, 0.7), _between(draws, 0.3, 0.7))
    angle = _between(draws, -np.pi, np.pi)
    depth = 0.5 * next(draws) ** 2
    shadow = 1 - depth * np.clip(0.5 + 3 * (dx * np.cos(angle) + dy * np.sin(angle)), 0, 1)
    tint = np.stack([_between(draws, 0.9, 1.1) for _ in range(3)])
    canvas *= shadow * tint * np.exp(_between(draws, 0.0, 0.4))
    np.clip(canvas, 0, 1, out=canvas)
    canvas *= canvas * (3 - 2 * canvas)
