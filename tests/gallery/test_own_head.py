"""A head of one's own, from a class to a gallery that another program fills and searches."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from reidblocks import BNNeckHead
from reidblocks.backbones import osnet
from reidblocks.data import draw_person
from reidblocks.deploy import Embedder, embed, load_embedder, save_embedder
from reidblocks.gallery import Gallery


class Person(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = osnet(0.25), BNNeckHead(128)

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.head(self.backbone(images).c5).embedding
        return embedding


# What a user writes who has the file, and neither the class nor its weights.
PROGRAM = """
from reidblocks.data import draw_person
from reidblocks.deploy import embed, load_embedder
from reidblocks.gallery import Gallery

embedder = load_embedder("person.pt2")
people = [draw_person(person, camera=1, shot=0) for person in range(4)]
gallery = Gallery.create("people.lance", embedder.spec)
gallery.add(embed(embedder, people).embeddings, person=["anna", "ben", "carl", "dora"])
found = gallery.search(embed(embedder, people).embeddings, k=1)
print([matches[0].person for matches in found], max(matches[0].distance for matches in found))
"""


def test_a_head_goes_into_a_gallery(tmp_path: Path) -> None:
    embedder = Embedder(Person().eval(), (64, 32), normalize=True, name="person").eval()
    save_embedder(embedder, tmp_path / "person.pt2")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    names, _, distance = ended.stdout.strip().rpartition(" ")
    assert names == "['anna', 'ben', 'carl', 'dora']"
    assert float(distance) < 1e-5


def test_it_is_the_same_model_in_the_class_and_in_the_file(tmp_path: Path) -> None:
    embedder = Embedder(Person().eval(), (64, 32), normalize=True, name="person").eval()
    gallery = Gallery.create(tmp_path / "people.lance", embedder.spec)
    image = draw_person(1, camera=1, shot=0)
    gallery.add(embed(embedder, [image]).embeddings, person="anna")
    save_embedder(embedder, tmp_path / "person.pt2")
    loaded = load_embedder(tmp_path / "person.pt2")
    again = Gallery.open(tmp_path / "people.lance", loaded.spec)
    assert again.search(embed(loaded, [image]).embeddings, k=1)[0][0].person == "anna"
    torch.testing.assert_close(
        embed(loaded, [image]).embeddings, embed(embedder, [image]).embeddings
    )
