"""Train and evaluate a person re-identification network: python examples/quickstart.py [DATA]

DATA is a CSV table of your images, or a folder in the layout of Market-1501.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader

from reidblocks import BatchHardTriplet, BNNeckHead, backbones, data, evaluation

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", nargs="?", help="CSV table, or folder; synthetic people if omitted")
parser.add_argument("--epochs", type=int, help="8 on synthetic people, 30 on your images")
options = parser.parse_args()

# The images: people to train on; of other people, queries and the gallery to search.
if options.data is None:
    folder = data.synthetic_people("runs", num_train_identities=64, progress=True)
    people, size, lr, epochs = data.read_market1501(folder), (64, 32), 1e-3, options.epochs or 8
else:
    read = data.from_csv if options.data.endswith(".csv") else data.read_market1501
    people, size, lr, epochs = read(options.data), (256, 128), 3.5e-4, options.epochs or 30
print(people.summary())
labels = [people.labels[sample.identity] for sample in people.train]
sampler = data.PKBatchSampler(labels, num_identities=min(16, people.num_identities), num_images=4)
augment = data.train_transform(size, erase=0.3, patch=0)
batches = DataLoader(data.ImageDataset(people.train, augment, people.labels), batch_sampler=sampler)

# The network: pretrained on ImageNet for your images, where the weights can be downloaded.
torch.manual_seed(0)
device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
try:
    backbone = backbones.resnet(18, ibn=True, weights="imagenet" if options.data else None)
except ConnectionError as error:
    print(f"{error}. Training from random weights.")
    backbone = backbones.resnet(18, ibn=True)
head = BNNeckHead(backbone.stage5_channels)
classifier = nn.Linear(head.channels, people.num_identities, bias=False)
network = nn.ModuleList([backbone, head, classifier]).to(device)


def embed(samples: tuple[data.Sample, ...]) -> evaluation.Features:
    network.eval()
    loader = DataLoader(data.ImageDataset(samples, data.eval_transform(size)), batch_size=64)
    return evaluation.extract_features(lambda x: head(backbone(x.to(device))[-1]).embedding, loader)


before = evaluation.evaluate(embed(people.query), embed(people.gallery))
id_loss, triplet_loss = nn.CrossEntropyLoss(label_smoothing=0.1), BatchHardTriplet()
optimizer = torch.optim.Adam(network.parameters(), lr, weight_decay=5e-4)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(sampler))
for epoch in range(epochs):
    network.train()
    for batch in batches:
        output, label = head(backbone(batch.image.to(device))[-1]), batch.label.to(device)
        loss = id_loss(classifier(output.embedding), label) + triplet_loss(output.pooled, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"epoch {epoch + 1} of {epochs}: loss {loss:.2f}")
query, gallery = embed(people.query), embed(people.gallery)
for name, result in {"untrained": before, "trained": evaluation.evaluate(query, gallery)}.items():
    print(f"{name:9}  mAP {result.mAP:6.1%}  rank-1 {result.rank(1):6.1%}")

try:
    from reidblocks.visualization import ranked_list, ranked_queries
except ModuleNotFoundError:
    print("To see ranked lists: pip install 'reidblocks[visualization]'")
    raise SystemExit from None
rows = [row * len(people.query) // 4 for row in range(4)]
lists = ranked_queries(query, gallery, rows, k=8)
ranked_list(lists, "Queries and their nearest gallery images").savefig("quickstart.png", dpi=150)
print("quickstart.png shows four queries, each with its nearest gallery images")
