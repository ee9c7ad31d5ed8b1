"""Hands in action (Tzionas et al., IJCV 2016), the hand-hand sequences 01 to 07, with MANO meshes fitted to them.

`<sequence>/1/rgb/<frame>.png`, `<sequence>/1/joints_2D_GT/<frame>.txt` for every fifth frame, and a pickle for each
frame and hand with the mesh `v` in the camera's frame. The protocol takes the frames that have joints in 2D, and a
camera with 525 px focal length. Whether `pose` is in components is not stated, nor the order of `J_transformed___j21`:
vertices are taken, and joints are regressed from them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handgap.core.conventions import Side
from handgap.core.pickles import read_pickle
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture
from handgap.data.adapters.files import Need
from handgap.data.adapters.index import Index, IndexWriter
from handgap.data.adapters.sample_file import labels_from, numbers

K = np.array([[525.0, 0, 319.5], [0, 525.0, 239.5], [0, 0, 1]])
SEQUENCES = tuple(f"{number:02d}" for number in range(1, 8))
_FITS = "IJCV16___Results_MANO___parms_for___joints21"
_LETTER = {Side.RIGHT: "R", Side.LEFT: "L"}


class TzionasAdapter(Adapter):
    """See the module."""

    title = "Hands in action"
    licence = "research only, by its terms; MANO's licence applies to the meshes"
    source = "the Hands in Action page of MPI-IS"
    splits = ("test",)
    hands = sides = TWO_HANDS
    size = (640, 480)
    regressed = True
    tips = "manopth"

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures, joints in 2D, and meshes."""
        parts = [f"{name}/1/{part}/" for name in SEQUENCES for part in ("rgb", "joints_2D_GT")]
        sequences = (Need(part, "the RGB-D sequences") for part in parts)
        return *sequences, Need(f"{_FITS}/", "MANO's fits to these sequences")

    def _names(self) -> list[str]:
        return [
            f"{sequence}/{path.stem}"
            for sequence in SEQUENCES
            for path in sorted((self.root / sequence / "1/joints_2D_GT").glob("*.txt"))
        ]

    def pictures(self, split: str) -> int:
        """Files of joints in 2D."""
        return len(self._names())

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Names."""
        names = self._names()
        index.append(name=names)
        return len(names)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Meshes of both hands."""
        name = index.column("name", number)
        sequence, frame = name.split("/")
        hands = [self._hand(sequence, frame, side) for side in self.hands]
        return Picture(name, self.root / sequence / "1/rgb" / f"{frame}.png", hands)

    def _hand(self, sequence: str, frame: str, side: Side) -> Labels:
        folder = f"IJCV16___fakeGT___IJCV___{sequence}___Model_Hand_{_LETTER[side]}___ncomps45"
        path: Path = self.root / _FITS / folder / f"{frame}.pkl"

        def build(values: dict) -> list[Labels]:
            return [Labels(side=side, K=K, vertices=numbers(values["v"], (778, 3)))]

        return labels_from(path, read_pickle, build, (side,))[0]
