"""The adapter of each kind of dataset."""

from handgap.core.config.imported import DexYcb, FreiHand, Ho3d, Imported
from handgap.data.adapters.adapter import Adapter
from handgap.data.adapters.dexycb import DexYcbAdapter
from handgap.data.adapters.freihand import FreiHandAdapter
from handgap.data.adapters.ho3d import Ho3dAdapter

ADAPTERS: dict[type[Imported], type[Adapter]] = {
    FreiHand: FreiHandAdapter,
    Ho3d: Ho3dAdapter,
    DexYcb: DexYcbAdapter,
}


def open_adapter(options: Imported) -> Adapter:
    """The adapter of a dataset."""
    return ADAPTERS[type(options)](options)
