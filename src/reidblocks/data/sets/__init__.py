"""Readers of public sets, a file for each, and the table of all readers by name."""

from collections.abc import Callable
from pathlib import Path

from reidblocks.data.samples import ReIDDataset
from reidblocks.data.sets.cuhk03np import read_cuhk03np
from reidblocks.data.sets.dukemtmc import read_dukemtmc, read_occluded_duke
from reidblocks.data.sets.ltcc import read_ltcc
from reidblocks.data.sets.market1501 import read_market1501
from reidblocks.data.sets.mars import read_mars
from reidblocks.data.sets.mot import crop_mot, read_mot
from reidblocks.data.sets.msmt17 import read_msmt17
from reidblocks.data.sets.occluded import read_occluded_reid, read_partial_reid
from reidblocks.data.sets.rendered import read_personx, read_randperson
from reidblocks.data.sets.soccernet import read_soccernet
from reidblocks.data.sets.synergyreid import read_synergyreid
from reidblocks.data.sets.veri776 import read_veri776
from reidblocks.data.table import from_csv

READERS: dict[str, Callable[[str | Path], ReIDDataset]] = {
    "market1501": read_market1501,
    "cuhk03np": read_cuhk03np,
    "msmt17": read_msmt17,
    "dukemtmc": read_dukemtmc,
    "occluded_duke": read_occluded_duke,
    "occluded_reid": read_occluded_reid,
    "partial_reid": read_partial_reid,
    "ltcc": read_ltcc,
    "veri776": read_veri776,
    "mars": read_mars,
    "soccernet": read_soccernet,
    "mot": read_mot,
    "personx": read_personx,
    "randperson": read_randperson,
    "synergyreid": read_synergyreid,
    "csv": from_csv,
}

__all__ = [
    "READERS",
    "crop_mot",
    "read_cuhk03np",
    "read_dukemtmc",
    "read_ltcc",
    "read_market1501",
    "read_mars",
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
]
