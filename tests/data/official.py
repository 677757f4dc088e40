"""A few names of each public set, as its authors wrote them: the smallest sound set of each."""

from collections.abc import Callable
from pathlib import Path

# The last but one of the test is a query, the last is its answer.
NAMES = {
    "market1501": (
        "Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg",
        "Market-1501-v15.09.15/query/0001_c1s1_001051_00.jpg",
        "Market-1501-v15.09.15/bounding_box_test/0001_c6s4_002352_01.jpg",
    ),
    "cuhk03np": (
        "cuhk03-np/labeled/bounding_box_train/0002_c1_1.png",
        "cuhk03-np/labeled/query/0003_c1_21.png",
        "cuhk03-np/labeled/bounding_box_test/0003_c2_26.png",
    ),
    "msmt17": (
        "MSMT17_V1/train/0000/0000_000_01_0303morning_0008_0.jpg",
        "MSMT17_V1/test/0000/0000_000_01_0303afternoon_0015_0.jpg",
        "MSMT17_V1/test/0000/0000_001_05_0303noon_0033_0.jpg",
    ),
    "dukemtmc": (
        "DukeMTMC-reID/bounding_box_train/0001_c2_f0046182.jpg",
        "DukeMTMC-reID/query/0005_c2_f0046985.jpg",
        "DukeMTMC-reID/bounding_box_test/0005_c8_f0056601.jpg",
    ),
    "occluded_duke": (
        "Occluded_Duke/bounding_box_train/0001_c2_f0046182.jpg",
        "Occluded_Duke/query/0005_c2_f0046985.jpg",
        "Occluded_Duke/bounding_box_test/0005_c8_f0056601.jpg",
    ),
    "occluded_reid": (
        "Occluded_REID/occluded_body_images/001/001_01.tif",
        "Occluded_REID/whole_body_images/001/001_01.tif",
    ),
    "partial_reid": (
        "Partial_REID/partial_body_images/001_01.jpg",
        "Partial_REID/whole_body_images/001_01.jpg",
    ),
    "ltcc": (
        "LTCC_ReID/train/000_1_c11_015833.png",
        "LTCC_ReID/query/001_1_c5_000016.png",
        "LTCC_ReID/test/001_2_c9_015901.png",
    ),
    "veri776": (
        "VeRi/image_train/0001_c001_00016450_0.jpg",
        "VeRi/image_query/0002_c002_00030600_0.jpg",
        "VeRi/image_test/0002_c003_00030640_0.jpg",
    ),
    "mars": (
        "mars/bbox_train/0001/0001C1T0001F001.jpg",
        "mars/bbox_train/0001/0001C1T0001F002.jpg",
        "mars/bbox_test/0002/0002C1T0001F001.jpg",
        "mars/bbox_test/0002/0002C3T0001F004.jpg",
    ),
    "soccernet": (
        "soccernetv3/reid/train/spain/2016/a/0/4-0-2-0-Player_team_left-9-r000000-161x76.png",
        "soccernetv3/reid/valid/query/italy/2016/game/7/1-7-5-0-Player_team_left-1-None-90x40.png",
        "soccernetv3/reid/valid/gallery/italy/2016/game/7/8-7-5-1-Player_team_left-1-r_2-80x4.png",
    ),
    "mot": (
        "MOT17/train/MOT17-02/000003_000001.jpg",
        "MOT17/val/MOT17-04/000003_000001.jpg",
        "MOT17/val/MOT17-04/000003_000011.jpg",
    ),
    "personx": (
        "PersonX_v1/1/bounding_box_train/0001_c1s1_33.jpg",
        "PersonX_v1/1/query/0002_c1s1_01.jpg",
        "PersonX_v1/1/bounding_box_test/0002_c1s1_02.jpg",
        "PersonX_v1/4/bounding_box_train/0001_c1s1_34.jpg",
        "PersonX_v1/4/query/0002_c1s1_05.jpg",
        "PersonX_v1/4/bounding_box_test/0002_c1s1_07.jpg",
    ),
    "randperson": (
        "randperson/000000_s00_c00_f000264.jpg",
        "randperson/000000_s02_c03_f000018.jpg",
    ),
    "synergyreid": (
        "synergyreid_data/reid_training/0012_03_0019.jpeg",
        "synergyreid_data/reid_test/query/0440_55_0000.jpeg",
        "synergyreid_data/reid_test/gallery/0440_55_0007.jpeg",
    ),
}


def write_set(name: str, folder: Path, write: Callable[[Path], object] = Path.touch) -> Path:
    """Write a set's files into a folder, by default empty, and return the set's own folder."""
    for image in NAMES[name]:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        write(folder / image)
    home = folder / NAMES[name][0].split("/")[0]
    if name == "msmt17":
        for split, (image, identity) in {
            "train": (NAMES[name][0], 0),
            "query": (NAMES[name][1], 0),
            "gallery": (NAMES[name][2], 0),
        }.items():  # fmt: skip
            line = f"{image.split('/', 2)[2]} {identity}\n"
            (home / f"list_{split}.txt").write_text(line)
    if name == "mars":
        write_mars_lists(home)
    return home


def write_mars_lists(
    home: Path, train: object = None, test: object = None, query: object = None
) -> None:
    from scipy.io import savemat

    info = home / "info"
    info.mkdir(exist_ok=True)
    for split in ("train", "test"):
        names = sorted(path.name for path in (home / f"bbox_{split}").glob("*/*.jpg"))
        (info / f"{split}_name.txt").write_text("\n".join(names) + "\n")
    savemat(info / "tracks_train_info.mat", {"track_train_info": train or [[1, 2, 1, 1]]})
    test = test or [[1, 1, 2, 1], [2, 2, 2, 3]]
    savemat(info / "tracks_test_info.mat", {"track_test_info": test})
    savemat(info / "query_IDX.mat", {"query_IDX": query or [[1]]})
