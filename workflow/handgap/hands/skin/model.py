"""Textures of the render hand as a linear model: NIMBLE's (Li et al. 2022, section 4.3) or its open twin.

One vector of coefficients moves all maps together: x = mean + sum over k of basis_k (alpha_k std_k), clamped to 0..1.
"""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import nn

from handgap.core.errors import CorruptFileError
from handgap.core.files import read_arrays
from handgap.core.seeds import rng

MAPS = ("diffuse", "normal", "specular", "roughness")
TRUNCATION = 2.0  # standard deviations: beyond, a sum of maps leaves the range of skin


class TextureModel(nn.Module):
    """Coefficients -> texture maps, batched and differentiable.

    Args:
        arrays: of the file, for each map m: `m_mean` (H, W, C) in 0..1, `m_basis` (K, H, W, C), `m_std` (K,); images
            are RGB, row 0 on top.
        origin: the file, for messages.

    Attributes:
        names: maps of this model, "diffuse" (sRGB) first; "normal" is in tangent space with green up. NIMBLE has
            "specular", the open model "roughness".
        n_coefficients: K.

    Raises:
        CorruptFileError: a map's arrays are missing or do not fit together.
    """

    def __init__(self, arrays: dict[str, np.ndarray], origin: Path | str):
        super().__init__()
        self.names = tuple(name for name in MAPS if f"{name}_mean" in arrays)
        self.n_coefficients = len(arrays["diffuse_std"])
        for name in self.names:
            parts = [f"{name}_{part}" for part in ("mean", "basis", "std")]
            shapes = [arrays[part].shape if part in arrays else None for part in parts]
            mean, *rest = shapes
            if rest != [(self.n_coefficients, *mean), (self.n_coefficients,)]:
                problem = f"{', '.join(parts)} have shapes {shapes}, which do not fit together"
                raise CorruptFileError(origin, problem, "delete it and make it again")
            for part in parts:
                self.register_buffer(part, torch.as_tensor(arrays[part]).float())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a texture file (`<hand>_textures.npz`).

        Raises:
            MissingAssetError: there is no such file.
            CorruptFileError: it is truncated, or its arrays are not a texture model's.
        """
        return cls(read_arrays(path, [f"diffuse_{part}" for part in ("mean", "basis", "std")]), path)

    def forward(self, coefficients: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps (B, H, W, C) in 0..1, by name, of coefficients (B, K) in standard deviations."""
        return {name: self._map(name, coefficients) for name in self.names}

    def _map(self, name: str, coefficients: torch.Tensor) -> torch.Tensor:
        mean, basis, std = (self.get_buffer(f"{name}_{part}") for part in ("mean", "basis", "std"))
        change = (coefficients * std) @ basis.flatten(1)
        return (mean + change.unflatten(1, mean.shape)).clamp(0.0, 1.0)

    def maps(self, coefficients: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 maps (H, W, C) of one skin's coefficients (K,), as `SkinSource` gives them."""
        with torch.inference_mode():
            found = self(torch.as_tensor(coefficients, dtype=torch.float32)[None])
            # in place: fresh arrays of this size cost more than the arithmetic
            return {name: pixels[0].mul_(255.0).round_().to(torch.uint8).numpy() for name, pixels in found.items()}


class TextureSet:
    """An endless list of random textures: the k-th is a function of k and the seed alone.

    Args:
        model: whose coefficients are drawn, each from a normal distribution cut at two standard deviations.
        seed: the study's.
    """

    def __init__(self, model: TextureModel, seed: int):
        self._model, self._seed = model, seed

    def coefficients(self, index: int) -> np.ndarray:
        """(K,) float32, standard deviations."""
        share = rng(self._seed, "hands/textures", index).uniform(
            *ndtr([-TRUNCATION, TRUNCATION]), self._model.n_coefficients
        )
        return ndtri(share).astype(np.float32)

    def maps(self, index: int) -> dict[str, np.ndarray]:
        """uint8 maps of one texture, row 0 on top."""
        return self._model.maps(self.coefficients(index))


def texture_pca(people: dict[str, np.ndarray], components: int) -> dict[str, np.ndarray]:
    """Principal components of some people's textures, one set of coefficients for all maps.

    The basis is orthogonal over all maps together, each map weighing as much as its variance; its columns are scaled so
    that every map's has a root mean square of 1 and `std` is in units of the map.

    Args:
        people: map -> (P, M, C) values of P people at M texels, 0..1.
        components: K < P.

    Returns:
        For each map m: `m_mean` (M, C), `m_basis` (K, M, C), `m_std` (K,), float32.
    """
    centred = {name: values - values.mean(0) for name, values in people.items()}
    count = len(next(iter(people.values())))
    gram = np.zeros((count, count))
    for values in centred.values():
        flat = values.reshape(count, -1)
        gram += (flat @ flat.T).astype(np.float64)
    variance, scores = np.linalg.eigh(gram)
    order = np.argsort(-variance)[:components]
    # a person's scores have unit variance; each component points to where its largest score is positive
    scores = scores[:, order] * np.sqrt(count - 1)
    scores *= np.sign(scores[np.abs(scores).argmax(0), np.arange(components)])
    arrays = {}
    for name, values in centred.items():
        change = np.tensordot(scores.T.astype(np.float32) / (count - 1), values, 1)
        std = np.sqrt((change**2).mean((1, 2)))
        arrays[f"{name}_mean"], arrays[f"{name}_std"] = people[name].mean(0), std
        arrays[f"{name}_basis"] = change / np.maximum(std, 1e-12)[:, None, None]
    return arrays
