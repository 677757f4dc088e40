"""How many people a test needs: the width of the 95% interval by the number of people.

    python benchmarks/people.py [--people 10 30 100 300 1000]

Features are drawn, of two images a person in the gallery and two queries, among 2,000 images of
others, so that mAP is about the same however many people are asked for.
"""

import argparse

import torch

from reidblocks.evaluation import Features, confidence_intervals, evaluate

DIMENSIONS, OTHERS, NOISE = 128, 2_000, 1.6


def sides(people: int, seed: int = 0) -> tuple[Features, Features]:
    """Draw queries and gallery: a person is a point, an image that point and noise."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(people, DIMENSIONS, generator=generator)
    hard = 0.5 + torch.rand(people, 1, generator=generator)  # some are easier to find than others
    parts = [
        points + NOISE * hard * torch.randn(people, DIMENSIONS, generator=generator)
        for _ in range(4)
    ]
    others = (1 + NOISE**2) ** 0.5 * torch.randn(OTHERS, DIMENSIONS, generator=generator)
    ids = torch.arange(people)
    strangers = people + torch.arange(OTHERS)
    query = Features(torch.cat(parts[:2]), torch.cat([ids, ids]))
    return query, Features(torch.cat([*parts[2:], others]), torch.cat([ids, ids, strangers]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    options = parser.parse_args()
    print("people   mAP, 95% interval         rank-1, 95% interval")
    for people in options.people:
        found = confidence_intervals(evaluate(*sides(people)))
        told = [
            f"{value:.1%}  {low:.1%} to {high:.1%}"
            for value, low, high in (found["mAP"], found["rank-1"])
        ]
        print(f"{people:>6}   {told[0]:<24}  {told[1]}")


if __name__ == "__main__":
    main()
