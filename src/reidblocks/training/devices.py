"""What a run computes on, and in which precision."""

import torch


def pick_device(local_rank: int = 0) -> torch.device:
    """Return this process's GPU where there is one (NVIDIA, AMD, Apple or Intel), or the CPU.

    Args:
        local_rank: the number of the process on its machine, ``LOCAL_RANK`` under torchrun; its
            GPU becomes the current one.

    >>> pick_device().type in ("cuda", "mps", "xpu", "cpu")
    True
    """
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None or device.type not in ("cuda", "mps", "xpu"):
        return torch.device("cpu")
    if device.type != "mps":  # of which there is one
        torch.accelerator.set_device_index(local_rank)
    return torch.device(device.type, local_rank)


def autocast_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype to give to `torch.autocast`: half precision on CUDA, float32 elsewhere.

    It is bfloat16 where the GPU computes in it, and float16, which needs a ``GradScaler``, on
    older ones. A CPU is often slower in bfloat16.

    >>> autocast_dtype(torch.device("cpu"))
    torch.float32
    """
    if device.type != "cuda":
        return torch.float32
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16
