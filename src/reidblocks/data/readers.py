"""All readers by name: the one table that commands and examples choose from."""

from collections.abc import Callable
from pathlib import Path

from reidblocks.data.datasets import read_dukemtmc, read_market1501, read_synergyreid
from reidblocks.data.samples import ReIDDataset
from reidblocks.data.table import from_csv

READERS: dict[str, Callable[[str | Path], ReIDDataset]] = {
    "market1501": read_market1501,
    "dukemtmc": read_dukemtmc,
    "synergyreid": read_synergyreid,
    "csv": from_csv,
}
