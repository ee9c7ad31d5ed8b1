"""The last few used Blender images, kept loaded: memory stays flat however many a shard goes through."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import bpy

Key = TypeVar("Key", bound=Hashable)


class ImageCache(Generic[Key]):
    """Groups of images by key, the least recently used thrown out.

    Args:
        load: makes the images of a key.
        limit: groups kept.
    """

    def __init__(self, load: Callable[[Key], dict[str, bpy.types.Image]], limit: int):
        self._load, self._limit = load, limit
        self._groups: OrderedDict[Key, dict[str, bpy.types.Image]] = OrderedDict()

    def get(self, key: Key) -> dict[str, bpy.types.Image]:
        """Images of a key, by name."""
        if key not in self._groups:
            if len(self._groups) >= self._limit:
                _, oldest = self._groups.popitem(last=False)
                for image in oldest.values():
                    bpy.data.images.remove(image)
            self._groups[key] = self._load(key)
        self._groups.move_to_end(key)
        return self._groups[key]
