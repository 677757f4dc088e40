"""One of the processes of test_batch_norm.py.

python batch_norm_worker.py RANK WORLD_SIZE RENDEZVOUS_FILE OUTPUT_FILE BACKEND DEVICE
"""

import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reidblocks.training import synchronize_batch_norm

SHARES = ([0, 1, 2, 3], [4, 5])  # images of each rank, not equally many


def images() -> Tensor:
    return torch.linspace(-3, 3, 6 * 2 * 12, dtype=torch.float64).view(6, 2, 3, 4).mul(7).sin()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    made = nn.Sequential(inner, nn.Flatten(), nn.BatchNorm1d(6, momentum=None)).double()
    nn.init.normal_(made[0][1].weight)
    return made


def results(made: nn.Module, own: list[int], device: str = "cpu") -> dict[str, object]:
    """Two passes: outputs, gradients of images and parameters, and what the norms remember."""
    for scale in (1, 2):
        given = (scale * images())[own].to(device).requires_grad_()
        output = made(given)
        weights = torch.arange(36, dtype=torch.float64).view(6, 6).cos()[own].to(device)
        made.zero_grad()
        (output * weights).square().sum().backward()
    return {
        "output": output.detach(),
        "images": given.grad,
        "parameters": [parameter.grad for parameter in made.parameters()],
        "state": made.state_dict(),
        "eval": made.eval()(images()[own].to(device)).detach(),
    }


def main(
    rank: int, world_size: int, rendezvous: str, output: str, backend: str, device: str
) -> None:
    torch.set_num_threads(1)
    if device != "cpu":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend, init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    made = synchronize_batch_norm(network(), torch.device(device)).to(device)
    torch.save(results(made, SHARES[rank], device), output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
