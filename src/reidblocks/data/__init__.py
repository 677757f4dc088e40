"""Images of people: readers of data sets, batches, transforms."""

from reidblocks._imagenet import IMAGENET_MEAN, IMAGENET_STD
from reidblocks._images import read_image
from reidblocks.data.augmentation import BatchAugmentation
from reidblocks.data.cache import CachedImages
from reidblocks.data.datasets import read_dukemtmc, read_market1501, read_synergyreid
from reidblocks.data.doctor import check_images, diagnose
from reidblocks.data.drawing import contact_sheet, draw_person
from reidblocks.data.images import ImageDataset, Item
from reidblocks.data.patches import RandomPatch
from reidblocks.data.readers import READERS
from reidblocks.data.samples import ReIDDataset, Sample
from reidblocks.data.sampling import PKBatchSampler
from reidblocks.data.synthetic import synthetic_people
from reidblocks.data.table import from_csv
from reidblocks.data.transforms import (
    eval_transform,
    resize_transform,
    train_transform,
)

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
    "contact_sheet",
    "diagnose",
    "draw_person",
    "eval_transform",
    "from_csv",
    "read_dukemtmc",
    "read_image",
    "read_market1501",
    "read_synergyreid",
    "resize_transform",
    "synthetic_people",
    "train_transform",
]
