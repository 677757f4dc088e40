"""What ``reidblocks`` does with a gallery: fill it, search it, list and remove people."""

import argparse
import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from reidblocks._progress import counted
from reidblocks.deploy import Embedder, embed, load_embedder
from reidblocks.gallery.gallery import INDEX_FROM, Gallery
from reidblocks.gallery.listing import Image, images_of, paths_below
from reidblocks.gallery.memory import model_of, remember_model
from reidblocks.gallery.rows import GalleryMatch
from reidblocks.gallery.table import folder_of

if TYPE_CHECKING:
    from reidblocks.visualization import FoundPerson

CHUNK = 8  # batches between two additions to the gallery
SHOWN = 20  # of a long list of unread images


def embed_images(arguments: Sequence[str]) -> int:
    """Embed the images that the command line names into a gallery.

    Returns:
        0; 1 where images could not be read, which are named.

    Raises:
        OSError, ValueError, ImportError: the images, the model or the gallery cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="reidblocks embed",
        description="Embed images of one person each into a gallery. To resume, run it again: "
        "images in the gallery are skipped. Under torchrun, each process embeds a part.",
    )
    parser.add_argument(
        "source", type=Path, metavar="FOLDER|TABLE", help="images, or a CSV table of them"
    )
    _add_model(parser, required=True)
    parser.add_argument(
        "--out", required=True, metavar="GALLERY", help="a new gallery, or one to extend"
    )
    parser.add_argument(
        "--pattern", help="how to read labels from paths, as in make-table, such as "
        "{camera}/{person}_*; by default each subfolder is a person"
    )  # fmt: skip
    parser.add_argument("--camera", help="the camera of images whose camera is unknown")
    parser.add_argument("--batch", type=_whole, default=64, help="batch size (64)")
    parser.add_argument("--workers", type=_whole, default=4, help="threads that read images (4)")
    options = parser.parse_args(arguments)
    images = images_of(options.source, options.pattern, options.camera)
    embedder = _load(options.model, options.architecture, options.device)
    gallery = _create_or_open(options.out, embedder)
    if folder_of(options.out) is not None:
        remember_model(Path(gallery.path), options.model, options.architecture)
    rank, processes = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    kept = gallery.sources()
    todo = [image for image in images[rank::processes] if image.path not in kept]
    share = len(images[rank::processes])
    if len(todo) < share:
        print(f"{share - len(todo):,} of {share:,} images are in the gallery already")
    unread: list[str] = []
    adding = _added(gallery, embedder, todo, options.batch, options.workers, unread)
    what = "images embedded:" if processes == 1 else f"process {rank}, images embedded:"
    for _ in counted(adding, what, len(todo), shown=rank == 0 or not sys.stderr.isatty()):
        pass
    gallery.optimize()
    named = sum(each.name is not None for each in gallery.people())
    print(f"{options.out}: {len(gallery):,} rows, {named:,} people by name")
    if len(gallery) >= INDEX_FROM and todo:
        sample = embed(embedder, [image.path for image in todo[:32]]).embeddings
        if len(sample):
            print(f"the index finds {gallery.recall(sample):.1%} of the 10 nearest rows")
    for told in unread[:SHOWN]:
        print(told, file=sys.stderr)
    if unread:
        more = f", the first {SHOWN} of them above" if len(unread) > SHOWN else ""
        noun = "image" if len(unread) == 1 else "images"
        print(f"{len(unread):,} {noun} could not be read{more}", file=sys.stderr)
    return min(1, len(unread))


def search_images(arguments: Sequence[str]) -> int:
    """Say who the images are that the command line names.

    Raises:
        OSError, ValueError, ImportError: the images, the model or the gallery cannot be used, or
            the picture not be written.
    """
    parser = argparse.ArgumentParser(
        prog="reidblocks search",
        description="Identify people: search the gallery for each image, which shows one person.",
    )
    parser.add_argument("source", type=Path, metavar="IMAGE|FOLDER")
    parser.add_argument("--gallery", required=True, help="a gallery made by reidblocks embed")
    _add_model(parser, required=False)
    parser.add_argument("-k", type=_whole, default=8, help="number of matches per image (8)")
    parser.add_argument(
        "--max-distance", type=_distance, help="beyond this distance (0 to 2) the answer is "
        "nobody; by default the nearest match is always the answer"
    )  # fmt: skip
    parser.add_argument("--where", help="an SQL condition, such as \"camera = 'hall'\"")
    parser.add_argument("--picture", type=Path, metavar="OUT", help="draw the answers here (.png)")
    options = parser.parse_args(arguments)
    paths = paths_below(options.source) if options.source.is_dir() else [f"{options.source}"]
    gallery = Gallery.open(options.gallery)
    model, architecture = options.model, options.architecture
    if model is None:
        model, architecture = model_of(gallery.path)
    embedder = _load(model, architecture, options.device)
    gallery = Gallery.open(options.gallery, embedder.spec)
    read = embed(embedder, paths, progress=len(paths) > 1)
    for told in read.unread.values():
        print(told, file=sys.stderr)
    found = gallery.search(read.embeddings, options.k, where=options.where)
    asked = [paths[place] for place in read.places]
    limit = 2.0 if options.max_distance is None else options.max_distance
    answers = [_answer(matches, limit) for matches in found]
    for path, (answer, nearest) in zip(asked, answers, strict=True):
        print(f"{path}: {answer}{nearest}")
    if options.picture is not None and asked:
        people = [
            _drawn(path, f"{answer}{nearest}", matches, limit)
            for path, (answer, nearest), matches in zip(asked, answers, found, strict=True)
        ]
        _draw(people, options.picture)
        print(f"drawn: {options.picture}")
    return min(1, len(read.unread))


def manage(arguments: Sequence[str]) -> int:
    """List the people of the gallery that the command line names, or remove some.

    Raises:
        OSError, ValueError, ImportError: the gallery cannot be read or written, or does not hold
            who is to be removed.
    """
    parser = argparse.ArgumentParser(
        prog="reidblocks gallery",
        description="List the people in a gallery, or delete some permanently.",
    )
    parser.add_argument("gallery")
    parser.add_argument(
        "--remove", nargs="+", metavar="NAME", default=[], help="delete these people"
    )
    parser.add_argument(
        "--remove-where",
        metavar="SQL",
        help='delete rows by an SQL condition, such as "time < 3600"',
    )
    parser.add_argument(
        "--optimize", action="store_true", help="compact the files and update the index"
    )
    options = parser.parse_args(arguments)
    gallery = Gallery.open(options.gallery)
    people = gallery.people()
    names = [each.name for each in people if each.name is not None]
    for name in options.remove:
        if name not in names:
            alike = {each.casefold(): each for each in names}
            near = difflib.get_close_matches(name.casefold(), alike, n=1)
            meant = f"; is {alike[near[0]]} meant?" if near else "."
            raise ValueError(
                f"the gallery {options.gallery} holds nobody called {name}{meant} Nobody was "
                "removed"
            )
    for name in options.remove:
        print(f"removed: {name}, {gallery.remove(person=name):,} rows")
    if options.remove_where:
        print(f"removed: {gallery.remove(where=options.remove_where):,} rows")
    if options.remove or options.remove_where:
        print("their image files, and pictures and reports made of them, are as they were")
    if options.optimize:
        gallery.optimize()
    print(f"{'person':<34}{'rows':>10}{'images':>10}  cameras")
    for each in gallery.people():
        name = "(no name)" if each.name is None else _cut(each.name, 33)
        cameras = _cut(", ".join(each.cameras), 24)
        print(f"{name:<34}{each.rows:>10,}{each.images:>10,}  {cameras}".rstrip())
    return 0


def _add_model(parser: argparse.ArgumentParser, *, required: bool) -> None:
    where = "" if required else "; if omitted, the one that filled the gallery"
    parser.add_argument(
        "--model",
        required=required,
        help=f"an ONNX or .pt2 file, or what load_embedder takes{where}",
    )
    parser.add_argument("--architecture", help="architecture of a checkpoint, such as osnet_x0_25")
    parser.add_argument("--device", help="such as cuda or cpu; by default the accelerator")


def _load(model: str, architecture: str | None, device: str | None) -> Embedder:
    embedder = load_embedder(model, architecture)
    if device is None and torch.accelerator.is_available():
        device = f"{torch.accelerator.current_accelerator()}:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        return embedder.to(device or "cpu").eval()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {device} cannot be used here: {reason}") from error


def _create_or_open(path: str, embedder: Embedder) -> Gallery:
    spec = embedder.spec
    try:
        return Gallery.create(path, spec)
    except FileExistsError as error:
        try:
            return Gallery.open(path, spec)  # to continue; or another process was first
        except FileNotFoundError:
            raise error from None


def _added(
    gallery: Gallery,
    embedder: Embedder,
    images: Sequence[Image],
    batch: int,
    workers: int,
    unread: list[str],
) -> Iterator[Image]:
    """Yield each image once it is in the gallery, or is among the unread."""
    for start in range(0, len(images), CHUNK * batch):
        chunk = images[start : start + CHUNK * batch]
        paths = [image.path for image in chunk]
        found = embed(embedder, paths, batch_size=batch, workers=workers)
        unread += found.unread.values()
        some = [chunk[place] for place in found.places]
        gallery.add(
            found.embeddings,
            person=[image.person for image in some],
            camera=[image.camera for image in some],
            time=[image.time for image in some],
            source=[image.path for image in some],
        )
        yield from chunk


def _answer(matches: Sequence[GalleryMatch], limit: float) -> tuple[str, str]:
    """Return who it is, and by what."""
    if not matches:
        return "nobody", ""
    nearest = matches[0]
    name = nearest.person or "somebody without a name"
    if nearest.distance > limit:
        return "nobody", f" (the nearest, {name}, is {nearest.distance:.3f} away)"
    where = "" if nearest.camera is None else f", camera {nearest.camera}"
    return name, f" ({nearest.distance:.3f} away{where})"


def _drawn(path: str, answer: str, matches: Sequence[GalleryMatch], limit: float) -> "FoundPerson":
    import PIL.Image

    from reidblocks.visualization import FoundImage, FoundPerson

    gone = PIL.Image.new("RGB", (64, 128), "lightgray")  # where the image's file is gone
    return FoundPerson(
        path,
        answer,
        [
            FoundImage(
                match.source if match.source and os.path.isfile(match.source) else gone,
                match.distance,
                match.person or "",
                match.camera,
                match.distance <= limit,
            )
            for match in matches
        ],
    )


def _draw(people: "Sequence[FoundPerson]", path: Path) -> None:
    from reidblocks._files import atomic_path
    from reidblocks.visualization import answer_sheet

    figure = answer_sheet(people)
    with atomic_path(path) as partial:
        figure.savefig(partial)


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _distance(text: str) -> float:
    try:
        distance = float(text)
    except ValueError:
        distance = -1.0
    if not 0 < distance <= 2:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 2, got {text!r}")
    return distance


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
