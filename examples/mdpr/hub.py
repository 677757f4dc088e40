"""The Hugging Face Hub for the folders of ``share.py`` (extra: hub).

    HubNetwork(load("FOLDER").model).push_to_hub("me/my-mdpr")
    network = HubNetwork.from_pretrained("me/my-mdpr")  # or a folder: nothing is asked for then

What the Hub holds is such a folder: once downloaded, ``load`` and evaluate.py read it as well.
"""

from pathlib import Path
from typing import Self

from huggingface_hub import ModelHubMixin, snapshot_download
from torch import Tensor, nn

from baselines import Baseline
from model import MDPR
from share import CONFIG, WEIGHTS, load, write_files


class HubNetwork(
    nn.Module,
    ModelHubMixin,
    library_name="reidblocks",
    paper_url="https://arxiv.org/abs/2401.06430",
    tags=["person-re-identification"],
):
    """Give a network ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

    Shape:
        (B, 3, H, W) → (B, D), the embedding
    """

    def __init__(self, network: MDPR | Baseline) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.embed(images)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_files(self.network, save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **others: object,  # what else a version of huggingface_hub hands over
    ) -> Self:
        folder = model_id
        if not Path(folder).is_dir():
            folder = snapshot_download(
                model_id,
                allow_patterns=[CONFIG, WEIGHTS],
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        return cls(load(folder).model)
