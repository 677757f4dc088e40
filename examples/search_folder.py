"""Who is this? Search a folder of people: python examples/search_folder.py [FOLDER] [--model FILE]

FOLDER holds a folder of images for each person; if omitted, synthetic people are drawn. Without a
model they are told apart by the colors of their clothes. It needs the extra gallery (LanceDB).
"""

import argparse
import tempfile

from torch import nn

from reidblocks import data, deploy
from reidblocks.gallery import Gallery

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", nargs="?", help="of a folder for each person")
parser.add_argument("--model", help="an ONNX or .pt2 file, or what else load_embedder takes")
parser.add_argument("--architecture", help="of a checkpoint, such as osnet_x0_25")
parser.add_argument("--max-distance", type=float, default=0.5, help="what is farther is nobody")
options = parser.parse_args()

# The images: one of each person is asked about, the others are kept, but for the last person's.
if options.folder is None:
    people = data.read_market1501(data.synthetic_people("runs", num_test_identities=8))
    samples = sorted((*people.query, *people.gallery))
else:
    people = data.read_folder(options.folder)
    samples = sorted(people.train)
of_person = {each.identity: [s for s in samples if s.identity == each.identity] for each in samples}
asked, kept = [images[0] for images in of_person.values()], [*of_person.values()][:-1]

# The model: a network with its preprocessing, which tells the gallery which model it is.
if options.model is None:
    colors = nn.Sequential(nn.AdaptiveAvgPool2d((6, 2)), nn.Flatten())  # means of 12 patches
    embedder = deploy.Embedder(colors, size=(48, 24)).eval()
else:
    embedder = deploy.load_embedder(options.model, options.architecture)

home = tempfile.TemporaryDirectory()  # of a gallery that is to stay: any folder
gallery = Gallery.create(f"{home.name}/people.lance", embedder.spec)
for images in kept:
    found = deploy.embed(embedder, [image.path for image in images[1:]])
    sources = [str(images[1 + place].path) for place in found.places]
    gallery.add(found.embeddings, person=people.identity_name(images[0].identity), source=sources)

question = deploy.embed(embedder, [image.path for image in asked])
for place, matches in zip(question.places, gallery.search(question.embeddings, k=5), strict=True):
    near = [match for match in matches if match.distance <= options.max_distance]
    answer = f"{near[0].person}, {near[0].distance:.3f} away" if near else "nobody"
    print(f"person {people.identity_name(asked[place].identity)}: {answer}")

first = people.identity_name(asked[0].identity)
print(f"on request, {gallery.remove(person=first)} images of person {first} are deleted for good")
who = gallery.search(question.embeddings[:1], k=5)[0]
print(f"and nobody finds them: {first not in {match.person for match in who}}")
