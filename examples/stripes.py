"""Train a part model in the manner of PCB: python examples/stripes.py [CSV_TABLE]

Sun et al., arXiv 1711.09349: the last map is cut into horizontal stripes, each with an embedding
and a classifier of its own. People are compared by all of them at once. Without a table of
images, synthetic people are drawn.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reidblocks import EmbeddingHead, backbones, data, evaluation, split_stripes

PARTS, EMBED_DIM, SIZE = 4, 128, (64, 32)  # the map of 64 × 32 pixels is 4 × 2


class StripedNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbones.resnet(18, ibn=True)
        channels = self.backbone.stage5_channels
        self.heads = nn.ModuleList(EmbeddingHead(channels, EMBED_DIM) for _ in range(PARTS))

    def forward(self, images: Tensor) -> Tensor:
        stripes = split_stripes(self.backbone(images)[-1], PARTS)
        parts = [head(part).embedding for head, part in zip(self.heads, stripes, strict=True)]
        return torch.cat(parts, dim=1)  # (B, PARTS * EMBED_DIM)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("table", nargs="?", help="CSV table; synthetic people if omitted")
parser.add_argument("--epochs", type=int, default=8)
options = parser.parse_args()
folder = options.table or data.synthetic_people("runs", num_train_identities=64, progress=True)
people = data.from_csv(folder) if options.table else data.read_market1501(folder)
images = data.ImageDataset(people.train, data.train_transform(SIZE, patch=0), people.labels)
batches = DataLoader(images, batch_size=64, shuffle=True, drop_last=len(images) > 64)
tests = [
    DataLoader(data.ImageDataset(side, data.eval_transform(SIZE)), batch_size=64)
    for side in (people.query, people.gallery)
]
network = StripedNetwork()
classifiers = nn.ModuleList(nn.Linear(EMBED_DIM, people.num_identities) for _ in range(PARTS))
id_loss = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam([*network.parameters(), *classifiers.parameters()], lr=1e-3)
print("untrained", evaluation.evaluate_model(network, *tests), sep="\n")
for epoch in range(options.epochs):
    network.train()
    for batch in batches:
        parts = network(batch.image).chunk(PARTS, dim=1)
        logits = [layer(part) for layer, part in zip(classifiers, parts, strict=True)]
        loss = id_loss(torch.cat(logits), batch.label.repeat(PARTS))  # the mean over the stripes
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1} of {options.epochs}: loss {loss:.2f}")
print("trained", evaluation.evaluate_model(network, *tests), sep="\n")
