"""Write the fixture of the present format: python tests/examples/pretrained/make.py

Run once when `share.FORMAT` goes up; see README.md beside this file.
"""

import json
import sys
import zlib
from pathlib import Path

import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT / "examples/mdpr"), str(HERE.parent)]


def seeded(name: str, like: Tensor) -> Tensor:
    """Draw a weight that follows from its name and shape."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if not like.is_floating_point():
        return torch.zeros_like(like)
    drawn = torch.rand(like.shape, generator=generator)
    if name.endswith(("running_var", "exponent")) or like.ndim == 1:
        return 0.5 + drawn
    return drawn - 0.5


def images() -> Tensor:
    """Give two uint8 images (2, 3, 32, 16) whose pixels are a formula."""
    numbers = torch.arange(2 * 3 * 32 * 16)
    return (numbers * numbers // 11 % 256).to(torch.uint8).view(2, 3, 32, 16)


def tiny_network() -> nn.Module:
    from tiny import tiny_backbone

    return tiny_backbone()


def main() -> None:
    import networks
    import share
    from build import build_model
    from config import MDPRConfig

    networks.NETWORKS["tiny"] = tiny_network
    config = MDPRConfig(backbone="tiny", height=32, width=16, embed_dim=2, circle="class")
    model = build_model(config)
    model.load_state_dict({k: seeded(k, v) for k, v in model.state_dict().items()})
    folder = share.save_pretrained(model, HERE / f"format-{share.FORMAT}")
    loaded = share.load(folder)
    with torch.inference_mode():
        embedding = loaded.model.embed(loaded.preprocessing.transform()(images()))
    (folder / "expected.json").write_text(json.dumps(embedding.tolist()) + "\n")
    names = build_model(MDPRConfig(backbone="resnet18_ibn")).state_dict()
    (folder / "keys.txt").write_text("\n".join(names) + "\n")


if __name__ == "__main__":
    main()
