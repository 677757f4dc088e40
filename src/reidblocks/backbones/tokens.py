"""A vision transformer's tokens as maps: its blocks in a stem and two stages."""

from typing import Any

import torch
from torch import Tensor, nn

from reidblocks.backbones.staged import StagedBackbone


class TokenStage(nn.Module):
    """Run transformer blocks on a map of tokens.

    Args:
        blocks: what runs on the tokens, (B, P + H·W, C) → (B, P + H·W, C).
        norm: the network's last norm, or an identity.
        embed_dim: C, the size of a token.
        keep_prefix: hand the P class and register tokens on as channels; without, only the C
            channels of the patches are returned.

    Shape:
        (B, C · (1 + P), H, W) → (B, C · (1 + P), H, W), or (B, C, H, W) without the prefix
    """

    def __init__(
        self, blocks: nn.Module, norm: nn.Module, embed_dim: int, *, keep_prefix: bool
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.norm = norm
        self.embed_dim = embed_dim
        self.keep_prefix = keep_prefix

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        patches, prefix = maps[:, : self.embed_dim], maps[:, self.embed_dim :, 0, 0]
        prefix = prefix.reshape(len(maps), prefix.shape[1] // self.embed_dim, self.embed_dim)
        tokens = torch.cat((prefix, patches.flatten(2).transpose(1, 2)), dim=1)
        tokens = self.norm(self.blocks(tokens))
        maps = _to_map(tokens, height, width, prefix.shape[1])
        return maps if self.keep_prefix else maps[:, : self.embed_dim]


def cut_transformer(network: Any) -> StagedBackbone:
    """Cut a timm VisionTransformer: half of its blocks to the stem, a quarter to each stage.

    That is about how a ResNet-50 divides its blocks. The stem is the network itself, ended early,
    and hands on its tokens as a map. The class and register tokens go along as further channels,
    the same at every place: a stage starts with exactly the tokens its blocks were trained on.
    """
    blocks, norm, dim = network.blocks, network.norm, network.embed_dim
    half, last = len(blocks) // 2, len(blocks) - len(blocks) // 4
    network.blocks = blocks[:half]
    network.reset_classifier(0, "")  # no pooling: what is left returns its tokens
    network.norm = network.fc_norm = nn.Identity()
    network.register_forward_hook(_hand_on_a_map)
    return StagedBackbone.measured(
        network,
        TokenStage(blocks[half:last], nn.Identity(), dim, keep_prefix=True),
        TokenStage(blocks[last:], norm, dim, keep_prefix=False),
    )


def _hand_on_a_map(network: Any, images: tuple[Tensor], tokens: Tensor) -> Tensor:
    height, width = network.patch_embed.dynamic_feat_size(tuple(images[0].shape[2:]))
    return _to_map(tokens, height, width, network.num_prefix_tokens)


def _to_map(tokens: Tensor, height: int, width: int, num_prefix: int) -> Tensor:
    patches = tokens[:, num_prefix:].transpose(1, 2)  # B C H·W
    maps = patches.reshape(*patches.shape[:2], height, width)
    prefix = tokens[:, :num_prefix].flatten(1)[:, :, None, None]  # B P·C 1 1
    return torch.cat((maps, prefix.expand(-1, -1, height, width)), dim=1)
