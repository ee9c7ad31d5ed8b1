"""What a network costs: parameters, and multiply-accumulates of one image, counted without computing anything."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from handgap.networks.base import HandNetwork


class Cost(NamedTuple):
    """Counts of one network.

    Attributes:
        trained: parameters that training changes.
        used: those of them that a prediction reads.
        macs: multiply-accumulates of one image: convolutions, linear layers, matrix products, attention.
    """

    trained: int
    used: int
    macs: int


class _Reads(TorchDispatchMode):
    """Notes which of some tensors any operation takes."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        self._names = {id(tensor): name for name, tensor in tensors.items()}
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        leaves = tree_leaves((args, kwargs))
        self.names |= {self._names[id(leaf)] for leaf in leaves if id(leaf) in self._names}
        return function(*args, **(kwargs or {}))


def count(module: nn.Module, run: Callable[[], object]) -> Cost:
    """Cost of what `run` does with a module that is on the device "meta", in evaluation mode.

    There, attention falls into matrix products, which torch counts; on a CPU it does not count the fused kernels of
    `scaled_dot_product_attention` and `MultiheadAttention`, and gives zero.

    Args:
        module: whose parameters are counted.
        run: a forward pass of one image.
    """
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    reads = _Reads(trained)
    with torch.no_grad(), FlopCounterMode(display=False) as flops, reads:
        run()
    sizes = {name: value.numel() for name, value in trained.items()}
    return Cost(sum(sizes.values()), sum(sizes[name] for name in reads.names), flops.get_total_flops() // 2)


def network_cost(network: HandNetwork, image_size: int) -> Cost:
    """Cost of a network, which is moved to the device "meta", its hand model too: neither can be used afterwards.

    Args:
        network: any.
        image_size: edge of the square input, px.
    """
    network.eval().to("meta")
    images, K = torch.zeros(1, 3, image_size, image_size, device="meta"), torch.zeros(1, 3, 3, device="meta")
    # not `forward`: autocast does not know the device
    return count(network, lambda: network.head(network.encode(images), K, image_size))
