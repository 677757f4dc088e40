"""Images of people: readers of data sets, batches, transforms."""

from reidblocks._imagenet import IMAGENET_MEAN, IMAGENET_STD
from reidblocks._images import read_image
from reidblocks.data.augmentation import BatchAugmentation
from reidblocks.data.cache import CachedImages
from reidblocks.data.doctor import check_images, diagnose
from reidblocks.data.drawing import draw_person
from reidblocks.data.folders import read_folder
from reidblocks.data.images import ImageDataset, Item
from reidblocks.data.masks import mask_path, read_masks
from reidblocks.data.patches import RandomPatch
from reidblocks.data.samples import ReIDDataset, Sample
from reidblocks.data.sampling import PKBatchSampler
from reidblocks.data.sets import (
    READERS,
    crop_mot,
    read_cuhk03np,
    read_dukemtmc,
    read_ltcc,
    read_market1501,
    read_mars,
    read_mot,
    read_msmt17,
    read_occluded_duke,
    read_occluded_reid,
    read_partial_reid,
    read_personx,
    read_randperson,
    read_soccernet,
    read_synergyreid,
    read_veri776,
)
from reidblocks.data.splitting import split_people
from reidblocks.data.synthetic import synthetic_people
from reidblocks.data.table import from_csv
from reidblocks.data.transforms import (
    eval_transform,
    resize_transform,
    train_transform,
)
from reidblocks.data.writing import write_csv

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "READERS",
    "BatchAugmentation",
    "CachedImages",
    "ImageDataset",
    "Item",
    "PKBatchSampler",
    "RandomPatch",
    "ReIDDataset",
    "Sample",
    "check_images",
    "crop_mot",
    "diagnose",
    "draw_person",
    "eval_transform",
    "from_csv",
    "mask_path",
    "read_cuhk03np",
    "read_dukemtmc",
    "read_folder",
    "read_image",
    "read_ltcc",
    "read_market1501",
    "read_mars",
    "read_masks",
    "read_mot",
    "read_msmt17",
    "read_occluded_duke",
    "read_occluded_reid",
    "read_partial_reid",
    "read_personx",
    "read_randperson",
    "read_soccernet",
    "read_synergyreid",
    "read_veri776",
    "resize_transform",
    "split_people",
    "synthetic_people",
    "train_transform",
    "write_csv",
]
