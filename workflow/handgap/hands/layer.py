"""What the two hand layers share: arrays of a model file as buffers, the shape blend, and pose features."""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from handgap.core.files import read_arrays

_CURE = "make the open one with snakemake, or convert the licensed one again (docs/licensed_models.md)"


class HandLayer(nn.Module):
    """A skinned hand read from a converted model file.

    Args:
        arrays: arrays of the file by name; `posedirs` is optional.
    """

    _buffers_of: tuple[str, ...] = ("v_template", "shapedirs", "weights")
    _others_of: tuple[str, ...] = ("parents",)

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__()
        for name in self._buffers_of:
            self.register_buffer(name, torch.as_tensor(arrays[name], dtype=torch.float32))
        posedirs = arrays.get("posedirs")
        self.register_buffer("posedirs", None if posedirs is None else torch.as_tensor(posedirs, dtype=torch.float32))
        self.parents = tuple(int(p) for p in arrays["parents"])

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a converted model (`.npz`).

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or lacks an array of this model.
        """
        return cls(cls._read(path))

    @classmethod
    def _read(cls, path: Path | str) -> dict[str, np.ndarray]:
        return read_arrays(path, {*cls._buffers_of, *cls._others_of}, _CURE)

    def _shaped(self, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rest vertices (B, V, 3) and joints (B, J, 3) of shape coefficients (B, S)."""
        return _blend(shape, self.shapedirs, self.v_template), _blend(shape, self.J_shapedirs, self.J_template)

    def _correctives(self, rotations: torch.Tensor) -> torch.Tensor | float:
        """Pose blend shapes (B, V, 3) of the rotations (B, P, 3, 3) of the joints below the root, in their order."""
        if self.posedirs is None:
            return 0.0
        eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        return _blend((rotations - eye).flatten(1), self.posedirs)


def _blend(coefficients: torch.Tensor, directions: torch.Tensor, base: torch.Tensor | None = None) -> torch.Tensor:
    """`base` (V, 3) plus coefficients (B, K) of directions (V, 3, K) -> (B, V, 3), as one matrix product."""
    start = None if base is None else base.flatten()
    return nn.functional.linear(coefficients, directions.flatten(0, 1), start).unflatten(-1, directions.shape[:2])
