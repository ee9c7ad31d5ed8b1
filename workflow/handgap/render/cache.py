"""The last used Blender images, kept loaded: memory stays flat however many a shard goes through."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import bpy

Key = TypeVar("Key", bound=Hashable)
MIB = 2**20


class ImageCache(Generic[Key]):
    """Groups of images by key, the least recently used thrown out.

    Args:
        load: makes the images of a key.
        limit_mib: MiB of pixels kept; the group in use is kept however big it is.
    """

    def __init__(self, load: Callable[[Key], dict[str, bpy.types.Image]], limit_mib: int):
        self._load, self._limit = load, limit_mib * MIB
        self._groups: OrderedDict[Key, dict[str, bpy.types.Image]] = OrderedDict()

    def get(self, key: Key) -> dict[str, bpy.types.Image]:
        """Images of a key, by name."""
        if key not in self._groups:
            self._groups[key] = self._load(key)
        self._groups.move_to_end(key)
        while len(self._groups) > 1 and sum(map(_size, self._groups.values())) > self._limit:
            _, oldest = self._groups.popitem(last=False)
            for image in oldest.values():
                bpy.data.images.remove(image)
        return self._groups[key]


def _size(group: dict[str, bpy.types.Image]) -> int:
    """Bytes of pixels: four channels of one byte, or of four."""
    return sum(image.size[0] * image.size[1] * (16 if image.is_float else 4) for image in group.values())
