"""What an invented person looks like: everything that stays the same from camera to camera."""

import random
from dataclasses import dataclass
from typing import Literal, get_args

Color = tuple[int, int, int]
Pattern = Literal["plain", "hoops", "pinstripes", "checks", "dots", "yoke", "logo", "jacket"]
Legwear = Literal["trousers", "shorts", "skirt"]
Hair = Literal["short", "long", "bun", "tail", "bald", "cap", "beanie"]
Bag = Literal["none", "backpack", "handbag", "satchel"]

# Few colors on purpose: many people share theirs, so that cut, pattern and bag have to decide.
TOPS: tuple[Color, ...] = (
    (38, 40, 46),
    (222, 220, 214),
    (128, 130, 134),
    (44, 66, 122),
    (164, 44, 46),
    (72, 112, 74),
    (196, 166, 110),
    (208, 170, 56),
    (118, 78, 134),
)
BOTTOMS: tuple[Color, ...] = (
    (34, 36, 44),
    (62, 84, 124),
    (150, 136, 108),
    (112, 114, 118),
    (198, 192, 180),
)
SHOES: tuple[Color, ...] = ((28, 26, 28), (226, 224, 220), (120, 78, 48), (170, 50, 52))
BAGS: tuple[Color, ...] = (
    (36, 34, 38),
    (132, 82, 46),
    (176, 56, 50),
    (58, 90, 130),
    (196, 176, 70),
)
SKINS: tuple[Color, ...] = ((238, 198, 168), (214, 166, 128), (166, 116, 82), (104, 70, 50))
HAIRS: tuple[Color, ...] = ((28, 24, 24), (84, 54, 34), (188, 148, 88), (150, 146, 142))


@dataclass(frozen=True)
class Person:
    """One person's looks; ``accent`` is the second color of the top, or the shirt in a jacket."""

    build: float
    leg_length: float
    skin: Color
    hair: Hair
    hair_color: Color
    hat_color: Color
    pattern: Pattern
    top: Color
    accent: Color
    hem: float
    long_sleeves: bool
    legwear: Legwear
    bottom: Color
    shoes: Color
    bag: Bag
    bag_color: Color


def dress(seed: str) -> Person:
    """Invent the person who belongs to ``seed``: the same seed, the same person, anywhere.

    >>> dress("one of them") == dress("one of them")
    True
    """
    rng = random.Random(seed)  # a string seeds through SHA-512, not through hash()
    top, accent = rng.sample(TOPS, 2)
    return Person(
        build=rng.uniform(0.85, 1.25),
        leg_length=rng.uniform(0.46, 0.51),
        skin=rng.choice(SKINS),
        hair=rng.choice(get_args(Hair)),
        hair_color=rng.choice(HAIRS),
        hat_color=rng.choice(TOPS),
        pattern=rng.choice(get_args(Pattern)),
        top=top,
        accent=accent,
        hem=rng.choice((0.0, 0.0, 0.04, 0.12)),
        long_sleeves=rng.random() < 0.6,
        legwear=rng.choice(("trousers", "trousers", "shorts", "skirt")),
        bottom=rng.choice(BOTTOMS),
        shoes=rng.choice(SHOES),
        bag=rng.choice(get_args(Bag)),
        bag_color=rng.choice(BAGS),
    )
