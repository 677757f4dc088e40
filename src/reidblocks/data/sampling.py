"""Batches of P identities × K images, from which pair and triplet losses can learn."""

import random
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor
from torch.utils.data import Sampler

from reidblocks._checks import expect_sizes, expect_whole
from reidblocks.data.decks import CameraDecks, Deck, Urn, checked_weights, digest, inclusion
from reidblocks.data.numbers import whole_numbers
from reidblocks.data.samples import JUNK


class PKBatchSampler(Sampler[list[int]]):
    """Draw batches of P identities with K images each, for ``DataLoader(batch_sampler=…)``.

    Identities come in one shuffled order after another, so that all are drawn equally often, to
    within one; a batch never holds one twice. An identity's images come in shuffled orders of their
    own, none again before all were drawn; where there are fewer than K, the batch holds some of
    them again. The batches of an epoch depend only on the seed and the epoch. Images of the label
    -1, which is junk, are never drawn.

    With ``cameras`` the K images of an identity are by as many cameras as saw it, each as often
    as the others, to within one: losses then meet pairs across cameras, which is what a test
    asks for. Images of a camera that took few come again sooner. With ``weights`` each batch
    holds an identity with a probability in proportion to its weight, up to 1, and not in one
    order after another.

    Each pass over the sampler is the next epoch, from epoch 0 on, also where the last one was
    interrupted. ``set_epoch`` and ``load_state_dict`` say which epoch the next pass draws; the
    passes after it count on from there.

    On several ranks, each draws the same global batch and takes its share of whole identities:
    rank r of W the identities r·P/W up to (r+1)·P/W. The number of ranks may change on resuming.
    Ranks stay in step if they have one seed and make the same passes; where one of them makes
    passes of its own, for example to inspect a batch, call ``set_epoch`` on all before each epoch.

    Args:
        labels: the identity or label of each image: a sequence, an array or a tensor (N,) of any
            integer type.
        num_identities: P, of the global batch.
        num_images: K, images of each identity.
        cameras: the camera of each image, -1 where it is unknown, to balance an identity's images
            over cameras; unknown ones count as one camera.
        weights: how often to draw each identity, relative to others; at 0 never.
        seed: another seed draws another order.
        num_batches: batches per epoch; if omitted, ⌈images / (P·K)⌉, so that an epoch draws as many
            images as there are or a little more.
        rank: which process this is.
        world_size: W, how many processes share each batch; divides P.

    Raises:
        TypeError: a label is a string, a boolean or not a number; a count, the seed or the rank is
            not an integer.
        ValueError: fewer than P identities, P not divisible by W, a value out of its range, a
            label that is not an integer or too large for int64, not one camera for each image,
            or an identity without a weight.

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
        cameras: Sequence[int] | Tensor | None = None,
        weights: Mapping[int, float] | None = None,
        seed: int = 0,
        num_batches: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        expect_whole("PKBatchSampler", "seed", seed, None)
        expect_whole("PKBatchSampler", "rank", rank, None)
        expect_sizes(
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
        numbers = whole_numbers(labels, "PKBatchSampler expects labels")
        if cameras is not None:
            cameras = whole_numbers(cameras, "PKBatchSampler expects cameras")
            if len(cameras) != len(numbers):
                raise ValueError(
                    "PKBatchSampler expects one camera for each image, got "
                    f"{len(cameras)} for {len(numbers)}"
                )
        self._images: dict[int, list[int]] = {}
        for index, label in enumerate(numbers):
            if label != JUNK:
                self._images.setdefault(label, []).append(index)
        self._cameras = cameras
        self._weights = None if weights is None else checked_weights(weights, self._images)
        # of what batches depend on too, 0 without it
        self._digests = {"cameras": digest(self._cameras), "weights": digest(self._weights)}
        if self._weights is not None:
            self._images = {label: self._images[label] for label in self._weights}
        if not self._images:
            raise ValueError(
                "PKBatchSampler expects images to draw, got none: no labels, only -1, which is "
                "junk, or only weights of 0; a data set to test on has no training images"
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
        expect_whole("PKBatchSampler", "epoch", epoch, None)
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
        identities = self._identities(rng)
        images = {
            identity: Deck(self._images[identity], rng)
            if self._cameras is None
            else CameraDecks(self._images[identity], self._cameras, rng)
            for identity in sorted(self._images)
        }
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

    def _identities(self, rng: random.Random) -> Deck | Urn:
        if self._weights is None:
            return Deck(sorted(self._images), rng)
        return Urn(inclusion(self._weights, self.num_identities), rng)

    def state_dict(self, used: int | None = None) -> dict[str, int]:
        """Where in the epoch the sampler is, and what that depends on.

        Args:
            used: how many batches of this epoch the training has used. If omitted, how many were
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
            TypeError: its epoch or batch is not an integer.
            ValueError: the state is of a sampler that draws other batches, or of no sampler.
        """
        wanted = {*self._settings(), "epoch", "batch"} - {"cameras", "weights"}
        if missing := sorted(wanted - set(state)):
            raise ValueError(
                f"PKBatchSampler expects a state that state_dict gave, got one without "
                f"{', '.join(missing)}"
            )
        for name in ("epoch", "batch"):  # an epoch of 1.0 would draw other batches than 1
            expect_whole("PKBatchSampler", name, state[name], None)
        for name, value in self._settings().items():
            # states of before there were cameras and weights have none
            taken = state.get(name, 0) if name in ("cameras", "weights") else state[name]
            if taken != value:
                raise ValueError(
                    f"PKBatchSampler cannot resume: the state was taken with {name}={taken}, "
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
            **self._digests,
        }
