"""What does each block cost, and what does it keep for the backward pass?

    python benchmarks/blocks.py

Each block at the paper's sizes (24×12 maps of 2,048 channels, M = 512, K = 2, N = 2; `--batch`),
against the same thing as a first version writes it (plain_mdpr.py: separate convolutions, K
attended copies), and folded. `keeps` is what a training pass holds until its gradient is taken,
besides input and parameters, in MB for the batch, by torch's saved-tensor hooks. Writes
`benchmarks/results/blocks.json`.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from measuring import in_turns, kept_mb, machine, write
from plain_mdpr import PlainAttention, PlainBAP, PlainFusion, PlainGeM, PlainHead
from reidblocks import (
    BAP,
    AttentionGenerator,
    BNNeck,
    ConvBNReLU,
    EmbeddingHead,
    FusionModule,
    GeM,
    GuidedAttention,
    HardPartitionHead,
    MutualDistiller,
)
from reidblocks.deploy import fold_for_inference

Case = tuple[nn.Module, Callable[[Any], nn.Module] | None, tuple[Tensor, ...]]


def cases(batch: int) -> dict[str, Case]:
    def maps(channels: int) -> Tensor:
        return torch.rand(batch, channels, 24, 12).to(memory_format=torch.channels_last)

    features, attention = maps(2048), maps(3).softmax(1)[:, :2]
    vectors = torch.randn(batch, 512), torch.randn(batch, 512)
    return {
        "ConvBNReLU": (ConvBNReLU(2048, 512), None, (features,)),
        "GeM": (GeM(), lambda gem: PlainGeM(gem.p), (maps(512),)),
        "BNNeck": (BNNeck(512), None, vectors[:1]),
        "EmbeddingHead": (EmbeddingHead(2048, 512), PlainHead, (features,)),
        "HardPartitionHead": (HardPartitionHead(2048, 512, 2), None, (features,)),
        "AttentionGenerator": (AttentionGenerator(2048, 2), PlainAttention, (features,)),
        "GuidedAttention": (GuidedAttention(1024, 2), None, (maps(1024), attention)),
        "BAP": (BAP(2048, 512, 2), PlainBAP, (features, attention)),
        "FusionModule": (FusionModule(1024), PlainFusion, (maps(1024),)),
        "MutualDistiller": (MutualDistiller(512), None, vectors),
    }


def tensors(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in output for tensor in tensors(part)]


def train_step(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    block.zero_grad()
    sum(each.sum() for each in tensors(block(*inputs))).backward()


def measure(name: str, case: Case, rounds: int) -> dict[str, Any]:
    block, plain_of, inputs = case
    needing = tuple(each.clone().requires_grad_() for each in inputs)
    blocks = {"ours": block.train()} | ({"paper": plain_of(block).train()} if plain_of else {})
    training = in_turns(
        {kind: lambda one=one: train_step(one, needing) for kind, one in blocks.items()}, rounds
    )
    row: dict[str, Any] = {
        "training, milliseconds": training,
        "keeps, MB": {
            kind: round(kept_mb(one, needing, one.parameters()), 3) for kind, one in blocks.items()
        },
    }
    for one in blocks.values():
        one.eval()
    blocks["folded"] = fold_for_inference(block)

    def infer(one: nn.Module) -> None:
        with torch.inference_mode():
            one(*inputs)

    row["inference, milliseconds"] = in_turns(
        {kind: lambda one=one: infer(one) for kind, one in blocks.items()}, rounds
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.manual_seed(0)
    results: dict[str, Any] = {"machine": machine(), "batch": options.batch}
    for name, case in cases(options.batch).items():
        results[name] = measure(name, case, options.rounds)
    write("blocks", results)
    print(f"{'':20}{'keeps':>18}{'training':>20}{'inference':>30}")
    for name, row in list(results.items())[2:]:
        kept = " / ".join(f"{mb:.1f}" for mb in row["keeps, MB"].values())
        train, infer = (
            " / ".join(f"{each['median']:.1f}" for each in row[f"{what}, milliseconds"].values())
            for what in ("training", "inference")
        )
        print(f"{name:20}{kept:>15} MB{train:>17} ms{infer:>27} ms")


if __name__ == "__main__":
    main()
