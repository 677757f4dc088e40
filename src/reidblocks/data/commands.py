"""What ``reidblocks`` does with data: check it, make a table of it, cut people out of videos."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reidblocks.data.doctor import diagnose
from reidblocks.data.folders import read_folder
from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets import READERS, crop_mot
from reidblocks.data.sets.layout import plain
from reidblocks.data.splitting import split_people
from reidblocks.data.table import from_csv
from reidblocks.data.writing import write_csv

_WORDS = {  # of the library, and the command's own
    "leave them out by skip_unmatched=True": "leave them out by --skip-unmatched",
    "split_people by_time": "--by-time",
    "split_people expects test above 0 and up to 1 and open_set": (
        "expected --test from 0 to 1 and --open-set"
    ),
    "split_people cannot test": "cannot test",
    "change test,": "change --test,",
}


def check_data(arguments: Sequence[str]) -> int:
    """Examine the data set that the command line names.

    Returns:
        0; 1 where a line of what it prints begins with "!".

    Raises:
        OSError, ValueError, ImportError: it cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="reidblocks check-data",
        description="Check a data set: counts, unreadable images, queries without a match, "
        'images in both train and test, and a suitable batch. Lines that start with "!" need '
        "attention; the exit code is then 1.",
    )
    parser.add_argument("path", type=Path, help="the folder of the set, its parent, or a CSV table")
    parser.add_argument(
        "--dataset", choices=READERS, metavar="NAME", help=f"one of {', '.join(READERS)}; "
        "by default detected"
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=64, help="size of a training batch (64)")
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error(f"--batch expects a number above 0, got {options.batch}")
    data = READERS[options.dataset](options.path) if options.dataset else _read(options.path)
    troubles = 0
    for line in diagnose(data, batch=options.batch, progress=sys.stderr.isatty()):
        print(line)
        troubles += line.startswith("!")
    return min(troubles, 1)


def _read(path: Path) -> ReIDDataset:
    """Read a table, or a folder by the first reader that can; one of the folder's name is first."""
    if path.is_file():
        return from_csv(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    names = [name for name in READERS if name != "csv"]
    refusals = []
    for name in sorted(names, key=lambda name: plain(name) not in plain(path.absolute().name)):
        try:
            return READERS[name](path)
        except ValueError as error:  # the folders are those of this set
            refusals.append(f"\n--dataset {name}: {error}")
        except OSError:
            continue
    raise ValueError(
        f"{path} has the layout of no public set; name the one that is meant by --dataset "
        f"({', '.join(names)}), or make a table of a folder of your own by reidblocks "
        f"make-table{''.join(refusals)}"
    )


def make_table(arguments: Sequence[str]) -> int:
    """Write the table of the folder that the command line names, split into train and test.

    Raises:
        OSError, ValueError: the folder cannot be read or the table not be written.
    """
    parser = argparse.ArgumentParser(
        prog="reidblocks make-table",
        description="Write a CSV table of the images below a folder, with person and camera "
        "from a pattern of the paths, and some people held out for testing.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--pattern", default="{person}/**", help="how to read labels from paths, such as "
        "{camera}/{person}_*; fields: person, camera, sequence, clothes, modality, time, split; "
        "* is anything but /, ** anything, # a number (default: {person}/**)"
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the table, a new file")
    parser.add_argument(
        "--test",
        type=float,
        default=0.3,
        help="fraction of the people to test on (0.3); 0 for none",
    )
    parser.add_argument(
        "--open-set", type=float, default=0.0, help="fraction of the test people who are not "
        "in the gallery (0)"
    )  # fmt: skip
    parser.add_argument(
        "--by-time",
        action="store_true",
        help="test on the people who came last, not a random choice",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of test people (0)")
    parser.add_argument(
        "--skip-unmatched", action="store_true", help="skip images that do not match the pattern"
    )
    options = parser.parse_args(arguments)
    if options.out.exists():
        raise FileExistsError(f"{options.out} is there already; remove it, or name another --out")
    try:
        data = read_folder(options.folder, options.pattern, skip_unmatched=options.skip_unmatched)
        first = data.train or data.query
        if "{split}" not in options.pattern and options.test:
            data = split_people(
                data,
                test=options.test,
                open_set=options.open_set,
                by_time=options.by_time,
                seed=options.seed,
            )
    except ValueError as error:
        told = f"{error}"
        for theirs, ours in _WORDS.items():
            told = told.replace(theirs, ours)
        raise ValueError(told) from error
    write_csv(data, options.out)
    for sample in first[:3]:
        camera = data.camera_name(sample.camera)
        print(f"{sample.path}: person {data.identity_name(sample.identity)}, camera {camera}")
    print(data.summary())
    print(f"written: {options.out}; look at it, then: reidblocks check-data {options.out}")
    return 0


def crop_videos(arguments: Sequence[str]) -> int:
    """Cut the people out of the videos that the command line names.

    Raises:
        OSError, ValueError: they cannot be read, or the crops not be written.
    """
    parser = argparse.ArgumentParser(
        prog="reidblocks crop-videos",
        description="Crop the people from videos in the layout of MOTChallenge (MOT17, "
        "DanceTrack, SportsMOT), for --dataset mot.",
    )
    parser.add_argument("folder", type=Path, help="the folder with train and, if any, val")
    parser.add_argument("--out", type=Path, required=True, help="the folder of crops")
    parser.add_argument("--every", type=int, default=10, help="use every n-th frame (10)")
    parser.add_argument(
        "--min-visibility",
        type=float,
        default=0.3,
        help="minimum visible fraction of a person (0.3)",
    )
    options = parser.parse_args(arguments)
    crop_mot(
        options.folder,
        options.out,
        every=options.every,
        min_visibility=options.min_visibility,
        progress=sys.stderr.isatty(),
    )
    print(f"written: {options.out}; then: reidblocks check-data {options.out} --dataset mot")
    return 0
