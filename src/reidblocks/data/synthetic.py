"""A data set of people drawn by the program: what the examples and tests train on by default."""

import json
import tempfile
import zlib
from pathlib import Path

from reidblocks._checks import expect_sizes, expect_whole
from reidblocks._files import make_folder, write_file
from reidblocks._progress import counted
from reidblocks.data import drawing
from reidblocks.data.drawing.cameras import CAMERAS
from reidblocks.data.drawing.people import draw_with_mask
from reidblocks.data.masks import mask_path
from reidblocks.data.sets.market1501 import DRAWN


def synthetic_people(
    root: str | Path,
    *,
    num_train_identities: int = 128,
    num_test_identities: int = 32,
    images_per_camera: int = 5,
    num_cameras: int = 4,
    size: tuple[int, int] = (128, 64),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Draw a synthetic data set once, in the layout of Market-1501, and return its folder.

    Every camera sees every identity ``images_per_camera`` times. For a test identity, the first
    image of each camera is a query and the rest is the gallery. The training identities are other
    people. The test split does not depend on the number of training identities. The folder
    ``masks`` holds the masks of the people: see `read_masks`.

    The folder is named after the arguments and the drawing code, so that a second call finds it
    and other arguments never overwrite it. It is written atomically, also if drawing is
    interrupted or several processes draw at once.

    Args:
        root: folder that holds the sets of people, each in its own folder; created if missing.
        num_train_identities, num_test_identities: people in each split.
        images_per_camera: images of each person by each camera, 2 or more.
        num_cameras: from 2 to 6.
        size: height and width of an image in pixels.
        seed: another seed draws other people.
        progress: show on standard error how far the drawing is.

    Returns:
        The folder to give to ``read_market1501``.

    Raises:
        ValueError: an argument is out of its range.
        FileExistsError: the folder is there but is not this set.

    >>> with tempfile.TemporaryDirectory() as root:
    ...     people = synthetic_people(root, num_train_identities=2, num_test_identities=1)
    ...     sorted(path.name for path in people.iterdir())
    ['bounding_box_test', 'bounding_box_train', 'manifest.json', 'masks', 'query']
    """
    expect_sizes(
        "synthetic_people",
        num_train_identities=num_train_identities,
        num_test_identities=num_test_identities,
    )
    whole = {"images_per_camera": images_per_camera, "num_cameras": num_cameras, "seed": seed}
    for name, value in whole.items():
        expect_whole("synthetic_people", name, value, None)
    if images_per_camera < 2:
        raise ValueError(
            "synthetic_people expects images_per_camera of 2 or more, a query and the gallery, "
            f"got {images_per_camera}"
        )
    if not 2 <= num_cameras <= len(CAMERAS):
        raise ValueError(
            f"synthetic_people expects num_cameras from 2 to {len(CAMERAS)}, got {num_cameras}"
        )
    arguments = {
        "num_train_identities": num_train_identities,
        "num_test_identities": num_test_identities,
        "images_per_camera": images_per_camera,
        "num_cameras": num_cameras,
        "size": size,
        "seed": seed,
        "drawing_code": _drawing_code(),
    }
    manifest = json.dumps(arguments, indent=2)
    root = Path(root).expanduser()
    target = root / f"{DRAWN}{zlib.crc32(manifest.encode()):08x}"
    if _is_drawn(target, manifest):
        return target
    make_folder(root)
    with tempfile.TemporaryDirectory(dir=root, prefix=".drawing-") as scratch:
        folder = Path(scratch) / "set"
        shots = _shots(num_train_identities, num_test_identities, images_per_camera, num_cameras)
        shown = counted(shots, "people drawn:", len(shots), shown=progress)
        for split, identity, camera, shot in shown:
            image = folder / split / f"{identity:04d}_c{camera}s1_{shot:06d}_01.jpg"
            person, mask = draw_with_mask(identity, camera, shot, size=size, seed=seed)
            for picture, path in ((person, image), (mask, mask_path(image))):
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path, quality=92)
        # The images are written plainly: without the manifest, and before the folder has its name,
        # nobody takes them for the set.
        write_file(folder / "manifest.json", manifest)
        try:
            folder.rename(target)
        except OSError:  # another process was quicker: the same pictures lie there already
            if not _is_drawn(target, manifest):
                raise
    return target


def _is_drawn(target: Path, manifest: str) -> bool:
    """Whether the set lies at ``target``; an error if something else does."""
    if not target.exists():
        return False
    found = target / "manifest.json"
    if not found.is_file() or found.read_text(encoding="utf-8") != manifest:
        raise FileExistsError(
            f"{target} is not the set that synthetic_people draws there; remove or rename it"
        )
    return True


def _shots(
    num_train: int, num_test: int, images_per_camera: int, num_cameras: int
) -> list[tuple[str, int, int, int]]:
    """List every picture of the set: split, identity, camera, shot."""
    shots = []
    for identity in range(1, num_test + num_train + 1):
        for camera in range(1, num_cameras + 1):
            for shot in range(1, images_per_camera + 1):
                test = "query" if shot == 1 else "bounding_box_test"
                split = test if identity <= num_test else "bounding_box_train"
                shots.append((split, identity, camera, shot))
    return shots


def _drawing_code() -> str:
    """Digest the code that draws, so that pictures of another version are not taken for its."""
    digest = 0
    for path in sorted(Path(drawing.__file__).parent.glob("*.py")):
        digest = zlib.crc32(path.read_bytes(), digest)
    return f"{digest:08x}"
