"""One composition of one sample: which real image, which pixels of it, and what becomes of the labels."""

from collections.abc import Mapping

import numpy as np

from handgap.compose.labels import hidden_joints, occlusion, without_depth
from handgap.compose.paste import Layer, match_colour, paste
from handgap.compose.sources import RealSide
from handgap.core.config.compose import Composition
from handgap.core.conventions import MaskLabel
from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_mask, decode_rgb, encode_mask, encode_rgb
from handgap.core.seeds import rng

NOT_PASTED = -1
CHANGED = ("image", "mask", "depth", "visibility", "valid", "flag")


class Composer:
    """Composes one render after the other.

    Args:
        choice: what is pasted, and how.
        side: the real images, None when nothing is pasted.
        variant: name of the composition; random colours depend on it.
        seed: the study's.
    """

    def __init__(self, choice: Composition, side: RealSide | None, variant: str, seed: int):
        self.choice, self.side, self.variant, self.seed = choice, side, variant, seed

    def row(self, render: Mapping[str, object], source: int, origin: str) -> dict[str, object]:
        """What a composition changes or adds in one row of a shard.

        Args:
            render: columns of the row.
            source: id of the real image, `NOT_PASTED` for none.
            origin: file and row of the render, for messages.

        Returns:
            ``image``, ``mask``; ``valid``, ``flag``; ``depth`` and ``visibility`` where the render has them: no depth
            where a piece is, no joint seen under the object; ``occlusion``, the share of the hand's pixels under the
            object; ``arm_from``, ``object_from``, the id of the real image where a pixel of its arm or object is
            seen, else `NOT_PASTED`. A sample that is not valid, or whose real image is not, stays the plain render.

        Raises:
            CorruptFileError: an image cannot be decoded, the real one is of another size or not in the shards passed.
        """
        row = {name: render[name] for name in CHANGED if name in render}
        row |= {"occlusion": np.float32(0.0), "arm_from": NOT_PASTED, "object_from": NOT_PASTED}
        if source == NOT_PASTED or not row["valid"]:
            return row
        if not self.side.is_valid(source):
            return row | {"valid": False, "flag": f"no valid mask of real image {source}"}
        plain, before = decode_rgb(row["image"], origin), decode_mask(row["mask"], origin)
        parts = self.side.labels(source)
        _require_size(parts, before, f"mask of real image {source}")
        pixels, after = self._pasted(plain, before, int(render["id"]), source, parts)
        row |= {"image": encode_rgb(pixels), "mask": encode_mask(after), "occlusion": occlusion(before, after)}
        if "depth" in row:
            row["depth"] = without_depth(row["depth"], after != before, origin)
        if "visibility" in row:
            row["visibility"] = row["visibility"] & ~hidden_joints(render["joints"], render["K"], after)
        pieces = {"arm_from": MaskLabel.ARM, "object_from": MaskLabel.OBJECT}
        return row | {name: source for name, label in pieces.items() if ((parts == label) & (after == label)).any()}

    def _pasted(
        self, render: np.ndarray, labels: np.ndarray, sample: int, source: int, parts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.choice.fill == "real":
            arm_pixels = object_pixels = self._real_pixels(render, labels, source, parts)
        else:
            arm_pixels, object_pixels = self._random_pixels(render.shape, sample)
        arm, held = parts == MaskLabel.ARM, parts == MaskLabel.OBJECT
        return paste(
            render,
            labels,
            Layer(arm_pixels, arm) if self.choice.arm != "none" else None,
            Layer(object_pixels, held) if self.choice.object != "none" else None,
            self.choice.feather,
        )

    def _real_pixels(self, render: np.ndarray, labels: np.ndarray, source: int, parts: np.ndarray) -> np.ndarray:
        pixels = self.side.image(source)
        _require_size(pixels, render, f"real image {source}")
        if self.choice.colour == "reinhard":
            return match_colour(pixels, parts == MaskLabel.HAND, render, labels == MaskLabel.HAND)
        return pixels

    def _random_pixels(self, shape: tuple[int, ...], sample: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of the arm and of the object: of random colours (H, W, 3), or of one each (3,)."""
        generator = rng(self.seed, f"compose/{self.variant}", sample)
        if self.choice.fill == "region_rgb":
            return tuple(generator.integers(0, 256, (2, 3), np.uint8))
        pixels = generator.integers(0, 256, shape, np.uint8)
        return pixels, pixels


def _require_size(found: np.ndarray, wanted: np.ndarray, what: str) -> None:
    if found.shape[:2] != wanted.shape[:2]:
        size, needed = ("{1}x{0}".format(*array.shape) for array in (found, wanted))
        cure = "render the synthetic side at the real side's size"
        raise CorruptFileError(what, f"it is {size} px, the render {needed} px", cure)
