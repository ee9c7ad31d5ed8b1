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


def sides_of(options: Imported) -> list[str]:
    """Hands that occur in a dataset whose labels are MANO parameters: "right", "left"; none of others."""
    adapter = ADAPTERS[type(options)]
    return [side.name.lower() for side in adapter.sides] if adapter.pose_space else []
