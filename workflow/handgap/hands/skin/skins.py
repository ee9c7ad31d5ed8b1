"""The library of the proxy-real people's skins: texture maps of the render hand, one row per skin in a store."""

from pathlib import Path

import numpy as np

from handgap.core.images import decode_rgb
from handgap.core.store import Store


class SkinLibrary:
    """Reader of open_nimble_skins.h5.

    Attributes:
        names: what each skin was made from.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: not a whole store.
    """

    def __init__(self, path: Path | str):
        self._store = Store(path)
        self.names: list[str] = list(self._store.column("name"))

    def __len__(self) -> int:
        return len(self._store)

    def maps(self, index: int) -> dict[str, np.ndarray]:
        """uint8 maps of one skin, row 0 on top.

        Returns:
            "diffuse" (H, W, 3) sRGB, "normal" (H, W, 3) tangent space with green up, "roughness" (H, W).
        """
        origin = f"{self._store.path}[{index}]"
        diffuse, normal, rough = (
            decode_rgb(self._store.column(name, index), origin) for name in ("diffuse", "normal", "roughness")
        )
        return {"diffuse": diffuse, "normal": normal, "roughness": rough[..., 0]}
