"""Generalized-mean pooling: between the average and the maximum, where training wants it."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx import wrap

from reidblocks._checks import (
    at_least_float32,
    expect_positive,
    expect_shape,
    expect_sizes,
    float32_if_whole,
    is_traced,
)


def gem_pool(maps: Tensor, p: Tensor | float = 3.0, eps: float = 1e-6) -> Tensor:
    r"""Pool each channel by the generalized mean with exponent ``p``.

    $$y_c = \Big(\frac{1}{HW}\sum_{h,w} \max(x_{chw}, \epsilon)^{p}\Big)^{1/p}$$

    Computed relative to each channel's maximum, in float32 at least: no power above 1 is ever
    formed, so nothing overflows whatever the exponent or the input's size.

    Args:
        maps: feature maps, read as if nothing in them were below ``eps``.
        p: one exponent, or G of them for G equal groups of consecutive channels; above 0.
        eps: floor put under the maps; keeps the gradient finite where a map is zero.

    Shape:
        (B, C, H, W) → (B, C), in the maps' dtype; float32 of integers

    Raises:
        ValueError: the maps are not 4-dimensional, C is not a multiple of G, or a number p or eps
            is not above 0.

    Source: Radenović et al., arXiv 1711.02512; MDPR Eq. 1.

    >>> gem_pool(torch.tensor([[[[1.0, 2.0, 3.0]]]]), p=1.0).round()
    tensor([[2.]])
    """
    return _gem_pool("gem_pool", maps, p, eps)


def _gem_pool(caller: str, maps: Tensor, p: Tensor | float, eps: float) -> Tensor:
    expect_shape(caller, "maps", maps, "B C H W")
    expect_positive(caller, eps=eps, **({} if isinstance(p, Tensor) or is_traced(p) else {"p": p}))
    return _pool(caller, maps, p, eps)


@wrap  # one step for torch.fx, which cannot follow what depends on a shape
def _pool(caller: str, maps: Tensor, p: Tensor | float, eps: float) -> Tensor:
    maps = float32_if_whole(maps)
    if isinstance(p, Tensor):
        channels, groups = maps.shape[1], p.numel()
        if groups > 1 and channels % groups:
            raise ValueError(
                f"{caller} expects a multiple of {groups} channels for {groups} exponents, "
                f"got maps {tuple(maps.shape)}"
            )
        per_channel = p.flatten().to(at_least_float32(maps).dtype)
        exponent = per_channel.repeat_interleave(channels // groups)[:, None]  # (C, 1)
    else:
        exponent = at_least_float32(maps).new_full((1, 1), p)
    if _needs_plain_operators() or torch.compiler.is_compiling():  # which chooses what to keep
        return _power_mean(maps, exponent, eps)
    pooled: Tensor = _PowerMean.apply(maps, exponent, eps)
    return pooled


def _needs_plain_operators() -> bool:
    """Return whether TorchScript traces, or forward-mode derivatives are asked for.

    torch calls a Function's own jvp with forward mode off: a second one would be silently wrong.
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or forward_ad._current_level >= 0


def _power_mean(maps: Tensor, exponent: Tensor, eps: float) -> Tensor:
    peak, _, logs = _relative_to_peak(maps, eps)
    mean = (logs * exponent).exp().mean(-1, keepdim=True)  # at least 1 / HW: the peak's part
    return (peak * (mean.log() / exponent).exp()).squeeze(-1).to(maps.dtype)


class _PowerMean(torch.autograd.Function):
    """Pool, and keep the maps alone for the backward pass, which computes the rest again.

    Plain operators would keep three float32 copies of the maps. The backward pass is made of
    differentiable operators, so that it has a derivative itself.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, exponent: Tensor, eps: float) -> Tensor:
        return _power_mean(maps, exponent, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        maps, exponent, ctx.eps = inputs
        ctx.save_for_backward(maps, exponent)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        maps, exponent = ctx.saved_tensors
        peak, relative, logs = _relative_to_peak(maps, ctx.eps)
        powers = (logs * exponent).exp()
        total = powers.sum(-1, keepdim=True)
        log_pooled = (total.log() - math.log(logs.shape[-1])) / exponent
        slope = grad.to(logs.dtype).unsqueeze(-1) * log_pooled.exp()
        by_maps = by_exponent = None
        if ctx.needs_input_grad[1]:
            change = ((powers * logs).sum(-1, keepdim=True) / total - log_pooled) / exponent
            by_exponent = (slope * peak * change).sum_to_size(exponent.shape)
        if ctx.needs_input_grad[0]:
            by_relative = powers * (slope / total) / relative
            at_floor = at_least_float32(maps).flatten(2) < ctx.eps
            by_maps = by_relative.masked_fill(at_floor, 0).reshape(maps.shape).to(maps.dtype)
        return by_maps, by_exponent, None


def _relative_to_peak(maps: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return each channel's maximum, the maps relative to it and not below eps, and their logs."""
    values = at_least_float32(maps).flatten(2)  # (B, C, HW)
    peak = values.detach().amax(-1, keepdim=True).clamp(min=eps)
    floor = (eps / peak).clamp(min=torch.finfo(values.dtype).tiny)
    relative = (values / peak).clamp(min=floor)
    return peak, relative, relative.log()


class GeM(nn.Module):
    r"""Pool each channel by a generalized mean with a trained exponent.

    $$y_c = \Big(\frac{1}{HW}\sum_{h,w} \max(x_{chw}, \epsilon)^{p}\Big)^{1/p}$$

    p = 1 is average pooling; as p grows it approaches max pooling. The exponent in use stays
    within ``GeM.BOUNDS``, whatever the optimizer does to the parameter: at a bound it only
    takes gradients that lead back inside. Below 1 the gradient of a place near zero would grow
    without bound, and leave half precision.

    Args:
        p: starting exponent, within ``GeM.BOUNDS``.
        groups: how many exponents there are, each for C / groups consecutive channels: 1 is one
            for all, C one per channel.
        trainable: whether the exponent is a parameter or a constant.
        eps: floor put under x; keeps the gradient finite where a map is zero.

    Shape:
        (B, C, H, W) → (B, C), in the input's dtype

    Raises:
        ValueError: p is outside the bounds, eps or groups not above 0; the input is not
            4-dimensional or its channels are not a multiple of groups.

    Source: Radenović et al., arXiv 1711.02512; MDPR Eq. 1.

    >>> GeM()(torch.rand(2, 8, 4, 2)).shape
    torch.Size([2, 8])
    """

    BOUNDS = (1.0, 100.0)

    def __init__(
        self, p: float = 3.0, *, groups: int = 1, trainable: bool = True, eps: float = 1e-6
    ) -> None:
        super().__init__()
        expect_sizes("GeM", groups=groups)
        expect_positive("GeM", p=p, eps=eps)
        if not self.BOUNDS[0] <= p <= self.BOUNDS[1]:
            raise ValueError(f"GeM expects p within {self.BOUNDS}, got {p}")
        self.eps = eps
        exponent = torch.full((groups,), float(p))
        if trainable:
            self.p = nn.Parameter(exponent)
        else:
            self.register_buffer("p", exponent)

    def forward(self, maps: Tensor) -> Tensor:
        return _gem_pool("GeM", maps, _bounded(self.p, *self.BOUNDS), self.eps)

    def extra_repr(self) -> str:
        p = "on meta"
        if not self.p.is_meta:
            used = self.p.detach().clamp(*self.BOUNDS)  # not the parameter: weight decay moves it
            p = " to ".join(dict.fromkeys(f"{end:.3g}" for end in torch.aminmax(used)))
        fixed = "" if isinstance(self.p, nn.Parameter) else ", fixed"
        return f"p={p}, groups={self.p.numel()}, eps={self.eps:g}{fixed}"


@wrap
def _bounded(p: Tensor, low: float, high: float) -> Tensor:
    if _needs_plain_operators():
        return p.clamp(low, high)
    bounded: Tensor = _Bounded.apply(p, low, high)
    return bounded


class _Bounded(torch.autograd.Function):
    """Clamp; outside the bounds, let through only gradients that lead back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(p: Tensor, low: float, high: float) -> Tensor:
        return p.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        p, ctx.low, ctx.high = inputs
        ctx.save_for_backward(p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (p,) = ctx.saved_tensors
        leads_out = ((p <= ctx.low) & (grad > 0)) | ((p >= ctx.high) & (grad < 0))
        return grad.masked_fill(leads_out, 0.0), None, None
