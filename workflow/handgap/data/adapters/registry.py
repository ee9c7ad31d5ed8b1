"""The adapter of each kind of dataset, in the module of that name.

They are imported when they are asked for: an edit of one concerns the shards of its own dataset alone.
"""

from importlib import import_module

from handgap.core.config.imported import Imported
from handgap.core.provenance import code_of
from handgap.data.adapters.adapter import Adapter

# kind -> class
ADAPTERS = {
    "freihand": "FreiHandAdapter",
    "ho3d": "Ho3dAdapter",
    "dexycb": "DexYcbAdapter",
    "synfrei": "SynFreiAdapter",
    "handsynthesis": "HandSynthesisAdapter",
    "rhd": "RhdAdapter",
    "dartset": "DartSetAdapter",
    "obman": "ObManAdapter",
    "renderih": "RenderIhAdapter",
    "interhand": "InterHandAdapter",
    "h2o3d": "H2o3dAdapter",
    "ego3dhands": "Ego3dHandsAdapter",
    "tzionas": "TzionasAdapter",
    "mvhand": "MvHandAdapter",
    "h3d": "Hand3dStudioAdapter",
    "mow": "MowAdapter",
}


def adapter_class(kind: str) -> type[Adapter]:
    """The adapter of a kind of dataset."""
    return getattr(import_module(f"handgap.data.adapters.{kind}"), ADAPTERS[kind])


def open_adapter(options: Imported) -> Adapter:
    """The adapter of a dataset."""
    return adapter_class(options.kind)(options)


def adapter_code(options: Imported) -> str:
    """Content hash of the adapter of a dataset, and of all that it imports."""
    return code_of(f"data.adapters.{options.kind}")


def sides_of(options: Imported) -> list[str]:
    """Sides ("right", "left") of the hand models that complete a dataset's labels; none if it has no use for them."""
    adapter = adapter_class(options.kind)
    return [side.name.lower() for side in adapter.sides] if adapter.pose_space or adapter.regressed else []
