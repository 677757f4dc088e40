"""How `PKBatchSampler` draws: shuffled orders, balanced over cameras, or by weights."""

import math
import random
import zlib
from collections.abc import Mapping, Sequence


class Deck:
    """Deals cards in one shuffled order after another, none twice in a hand that needs no more."""

    def __init__(self, cards: list[int], rng: random.Random) -> None:
        self.cards = cards
        self.rng = rng
        self.left: list[int] = []

    def deal(self, count: int) -> list[int]:
        hand, self.left = self.left[:count], self.left[count:]
        while len(hand) < count:
            order = self.rng.sample(self.cards, len(self.cards))
            # Cards already in the hand go last; those not taken keep their place for the next one.
            taken = sorted(order, key=set(hand).__contains__)[: count - len(hand)]
            hand += taken
            chosen = set(taken)
            self.left = [card for card in order if card not in chosen]
        return hand


class CameraDecks:
    """Deals cards of as many cameras as there are, each as often as the others."""

    def __init__(self, cards: list[int], cameras: Sequence[int], rng: random.Random) -> None:
        taken: dict[int, list[int]] = {}
        for card in cards:
            taken.setdefault(cameras[card], []).append(card)
        self.decks = {camera: Deck(shown, rng) for camera, shown in taken.items()}
        self.order = Deck(sorted(taken), rng)

    def deal(self, count: int) -> list[int]:
        turns, rest = divmod(count, len(self.decks))
        shares = dict.fromkeys(self.decks, turns)
        for camera in self.order.deal(rest):
            shares[camera] += 1
        return [card for camera, share in shares.items() for card in self.decks[camera].deal(share)]


class Urn:
    """Draws cards, none twice in a hand, each with its own probability."""

    def __init__(self, probabilities: dict[int, float], rng: random.Random) -> None:
        self.probabilities = probabilities
        self.rng = rng

    def deal(self, count: int) -> list[int]:
        """Draw by systematic sampling: lay the cards end to end, and pick at equal steps."""
        order = self.rng.sample(list(self.probabilities), len(self.probabilities))
        hand: list[int] = []
        at, end = self.rng.random(), 0.0
        for card in order:
            end += self.probabilities[card]
            if end > at and len(hand) < count:
                hand.append(card)
                at += 1
        for card in order:  # of which rounding may leave one out
            if len(hand) < count and card not in hand:
                hand.append(card)
        return hand


def inclusion(weights: Mapping[int, float], count: int) -> dict[int, float]:
    """Return the probabilities, in proportion to weights and at most 1, that add up to ``count``.

    >>> inclusion({7: 2.0, 8: 1.0, 9: 1.0}, 2)
    {7: 1.0, 8: 0.5, 9: 0.5}
    """
    sure: set[int] = set()
    while True:
        rest = sum(weight for card, weight in weights.items() if card not in sure)
        scale = (count - len(sure)) / rest if rest else 0.0
        more = {card for card, w in weights.items() if card not in sure and w * scale >= 1}
        if not more:
            break
        sure |= more
    return {card: 1.0 if card in sure else w * scale for card, w in weights.items()}


def checked_weights(weights: Mapping[int, float], images: Mapping[int, object]) -> dict[int, float]:
    """The weights above 0, in the order of the identities, refused by name if they are none."""
    for label in images:
        weight = weights.get(label)
        if weight is None or not 0 <= weight < math.inf:
            raise ValueError(
                f"PKBatchSampler expects a weight of 0 or more for each identity, got {weight} "
                f"for {label}"
            )
    return {label: float(weights[label]) for label in sorted(images) if weights[label] > 0}


def digest(values: object) -> int:
    """Return a number for what a list or mapping holds, 0 for None."""
    return 0 if values is None else zlib.crc32(f"{values}".encode())
