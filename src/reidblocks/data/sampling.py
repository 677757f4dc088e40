"""Batches of P identities × K images, from which pair and triplet losses can learn."""

import random
from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.utils.data import Sampler

from reidblocks._checks import expect_positive
from reidblocks.data.numbers import whole_numbers
from reidblocks.data.samples import JUNK


class PKBatchSampler(Sampler[list[int]]):
    """Draw batches of P identities with K images each, for ``DataLoader(batch_sampler=…)``.

    Identities come in one shuffled order after another, so that each is drawn equally often, give
    or take once; a batch never holds one twice. An identity's images come in shuffled orders of
    their own, none again before all were drawn; where there are fewer than K, the batch holds
    some of them again. An epoch's batches depend on the seed and the epoch alone. Images of the
    label -1, which is junk, are never drawn.

    Each pass over the sampler is the next epoch, from epoch 0 on, also where the last one was
    broken off. ``set_epoch`` and ``load_state_dict`` say which epoch the next pass draws; the
    passes after it count on from there.

    On several ranks, each draws the same global batch and takes its share of whole identities:
    rank r of W the identities r·P/W up to (r+1)·P/W. The number of ranks may change on resuming.
    Ranks stay in step if they have one seed and make the same passes; where one of them makes
    passes of its own, as to look at a batch, call ``set_epoch`` on all before each epoch.

    Args:
        labels: the identity or label of each image: a sequence, an array or a tensor (N,) of any
            integer type.
        num_identities: P, of the global batch.
        num_images: K, images of each identity.
        seed: another seed draws another order.
        num_batches: batches an epoch; left out, ⌈images / (P·K)⌉, so that an epoch draws as many
            images as there are or a little more.
        rank: which process this is.
        world_size: W, how many processes share each batch; divides P.

    Raises:
        TypeError: a label is a string, a boolean or no number.
        ValueError: fewer than P identities, P not divisible by W, a value out of its range, or a
            label that is no whole number or too large for int64.

    Source: Hermans et al., arXiv 1703.07737.

    >>> sampler = PKBatchSampler([5, 5, 5, 7, 7, 9], num_identities=2, num_images=2)
    >>> len(sampler), [len(batch) for batch in sampler]
    (2, [4, 4])
    """

    def __init__(
        self,
        labels: Sequence[int] | Tensor,
        *,
        num_identities: int = 16,
        num_images: int = 4,
        seed: int = 0,
        num_batches: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        expect_positive(
            "PKBatchSampler",
            num_identities=num_identities,
            num_images=num_images,
            world_size=world_size,
            num_batches=1 if num_batches is None else num_batches,
        )
        if not 0 <= rank < world_size:
            raise ValueError(
                f"PKBatchSampler expects rank from 0 to {world_size - 1}, got {rank} "
                f"(world_size is {world_size})"
            )
        if num_identities % world_size:
            raise ValueError(
                f"PKBatchSampler gives each rank whole identities: num_identities={num_identities} "
                f"is not divisible by world_size={world_size}"
            )
        self._images: dict[int, list[int]] = {}
        for index, label in enumerate(whole_numbers(labels, "PKBatchSampler expects labels")):
            if label != JUNK:
                self._images.setdefault(label, []).append(index)
        if not self._images:
            raise ValueError(
                "PKBatchSampler expects labels of training images, got none but junk; has the "
                "data set images to train on?"
            )
        if len(self._images) < num_identities:
            raise ValueError(
                f"PKBatchSampler expects {num_identities} identities or more, got "
                f"{len(self._images)}; lower num_identities"
            )
        batch = num_identities * num_images
        self.num_identities = num_identities
        self.num_images = num_images
        drawn = sum(map(len, self._images.values()))
        self.num_batches = -(-drawn // batch) if num_batches is None else num_batches
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._drawn = 0  # batches of this epoch given out so far
        self._resume_at = 0  # where the next pass starts
        self._is_chosen = True  # whether the next pass draws this epoch, and not the one after it

    def __len__(self) -> int:
        """Batches a whole epoch; an iteration resumed in mid-epoch gives those left."""
        return self.num_batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; the same epoch again keeps the place to resume at."""
        self._is_chosen = True
        if epoch != self.epoch:
            self.epoch = epoch
            self._drawn = self._resume_at = 0

    def __iter__(self) -> Iterator[list[int]]:
        # Runs at the first batch, not at iter(): a DataLoader with workers calls iter() twice.
        if not self._is_chosen:
            self.set_epoch(self.epoch + 1)
        start, self._resume_at, self._is_chosen = self._resume_at, 0, False
        self._drawn = start
        rng = random.Random(f"{self.seed} {self.epoch}")
        identities = _Deck(sorted(self._images), rng)
        images = {identity: _Deck(self._images[identity], rng) for identity in sorted(self._images)}
        share = self.num_identities // self.world_size
        first = self.rank * share
        for number in range(self.num_batches):
            # Every rank deals the whole global batch, as later draws depend on it.
            groups = [
                images[identity].deal(self.num_images)
                for identity in identities.deal(self.num_identities)
            ]
            if number >= start:
                self._drawn = number + 1
                yield [index for group in groups[first : first + share] for index in group]

    def state_dict(self, used: int | None = None) -> dict[str, int]:
        """Where in the epoch the sampler is, and what that depends on.

        Args:
            used: how many batches of this epoch the training has used. Left out, how many were
                drawn, which is more where a DataLoader's workers draw ahead.
        """
        return {
            **self._settings(),
            "epoch": self.epoch,
            "batch": self._drawn if used is None else used,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where ``state`` was taken: the next pass gives the rest of its epoch.

        After a state taken at an epoch's end it is the next epoch.

        Raises:
            ValueError: the state is of a sampler that draws other batches.
        """
        for name, value in self._settings().items():
            if state[name] != value:
                raise ValueError(
                    f"PKBatchSampler cannot resume: the state was taken with {name}={state[name]}, "
                    f"here it is {value}"
                )
        self.epoch = state["epoch"]
        self._drawn = self._resume_at = state["batch"]
        self._is_chosen = self._resume_at < self.num_batches

    def _settings(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "num_identities": self.num_identities,
            "num_images": self.num_images,
            "num_batches": self.num_batches,
            "total_identities": len(self._images),
            "total_images": sum(map(len, self._images.values())),
        }


class _Deck:
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
