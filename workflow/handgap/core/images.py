"""Encoding of images, label masks and depth maps inside a store."""

import io
import struct

import numpy as np
from PIL import Image

from handgap.core.errors import CorruptFileError

# what Pillow says of damaged files, in which it may trip over anything
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error)


def _encode(image: Image.Image, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def encode_rgb(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> bytes of a lossless WebP, as a uint8 array."""
    # 6x faster than method 2 for files a tenth larger; equally fast to decode
    return _encode(Image.fromarray(rgb), format="WEBP", lossless=True, quality=20, method=0)


def encode_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, 3) uint8 -> bytes of a JPEG, as a uint8 array."""
    return _encode(Image.fromarray(rgb), format="JPEG", quality=quality)


def encode_mask(labels: np.ndarray) -> np.ndarray:
    """(H, W) uint8 class labels (`conventions.MaskLabel`) -> bytes of a PNG."""
    return _encode(Image.fromarray(labels.astype(np.uint8), mode="L"), format="PNG", compress_level=6)


def encode_depth(depth_m: np.ndarray) -> np.ndarray:
    """(H, W) planar depth in metres, 0 = none -> bytes of a 16-bit PNG in millimetres.

    Raises:
        ValueError: depth is negative or beyond 65.535 m.
    """
    millimetres = np.rint(depth_m * 1000.0)
    if millimetres.min() < 0 or millimetres.max() > 65535:
        raise ValueError(f"depth outside 0..65.535 m: {depth_m.min():.3f}..{depth_m.max():.3f}")
    return _encode(Image.fromarray(millimetres.astype(np.uint16)), format="PNG", compress_level=6)


def _decode(data: np.ndarray, origin: str, pixels: bool = True) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data.tobytes()))
        if pixels:
            image.load()
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise CorruptFileError(origin, f"an image in it cannot be decoded ({error})", "make the file again") from error
    return image


def picture_size(data: np.ndarray, origin: str = "image") -> tuple[int, int]:
    """Width and height of an encoded image, from its head alone.

    Raises:
        CorruptFileError: the bytes are no image; names `origin`.
    """
    return _decode(data, origin, pixels=False).size


def decode_rgb(data: np.ndarray, origin: str = "image") -> np.ndarray:
    """Encoded bytes -> (H, W, 3) uint8 RGB; of 16 bits the upper eight.

    Raises:
        CorruptFileError: the bytes are no image, or one of floating-point numbers; names `origin`.
    """
    image = _decode(data, origin)
    if image.mode == "F":
        raise CorruptFileError(origin, "an image in it has floating-point pixels", "save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # grey of 16 bits, which `convert` would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def decode_mask(data: np.ndarray, origin: str = "mask") -> np.ndarray:
    """Encoded PNG bytes -> (H, W) uint8 class labels."""
    return np.asarray(_decode(data, origin))


def decode_depth(data: np.ndarray, origin: str = "depth") -> np.ndarray:
    """Encoded 16-bit PNG bytes -> (H, W) float32 planar depth in metres, 0 = none."""
    return np.asarray(_decode(data, origin)).astype(np.float32) / 1000.0
