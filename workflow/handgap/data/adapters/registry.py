"""The adapter of each kind of dataset."""

from handgap.core.config import imported
from handgap.core.config.imported import Imported
from handgap.data.adapters.adapter import Adapter
from handgap.data.adapters.dartset import DartSetAdapter
from handgap.data.adapters.dexycb import DexYcbAdapter
from handgap.data.adapters.ego3dhands import Ego3dHandsAdapter
from handgap.data.adapters.freihand import FreiHandAdapter
from handgap.data.adapters.h2o3d import H2o3dAdapter
from handgap.data.adapters.hand3dstudio import Hand3dStudioAdapter
from handgap.data.adapters.handsynthesis import HandSynthesisAdapter
from handgap.data.adapters.ho3d import Ho3dAdapter
from handgap.data.adapters.interhand import InterHandAdapter
from handgap.data.adapters.mow import MowAdapter
from handgap.data.adapters.mvhand import MvHandAdapter
from handgap.data.adapters.obman import ObManAdapter
from handgap.data.adapters.renderih import RenderIhAdapter
from handgap.data.adapters.rhd import RhdAdapter
from handgap.data.adapters.synfrei import SynFreiAdapter
from handgap.data.adapters.tzionas import TzionasAdapter

ADAPTERS: dict[type[Imported], type[Adapter]] = {
    imported.FreiHand: FreiHandAdapter,
    imported.Ho3d: Ho3dAdapter,
    imported.DexYcb: DexYcbAdapter,
    imported.SynFrei: SynFreiAdapter,
    imported.HandSynthesis: HandSynthesisAdapter,
    imported.Rhd: RhdAdapter,
    imported.DartSet: DartSetAdapter,
    imported.ObMan: ObManAdapter,
    imported.RenderIh: RenderIhAdapter,
    imported.InterHand: InterHandAdapter,
    imported.H2o3d: H2o3dAdapter,
    imported.Ego3dHands: Ego3dHandsAdapter,
    imported.Tzionas: TzionasAdapter,
    imported.MvHand: MvHandAdapter,
    imported.Hand3dStudio: Hand3dStudioAdapter,
    imported.Mow: MowAdapter,
}


def open_adapter(options: Imported) -> Adapter:
    """The adapter of a dataset."""
    return ADAPTERS[type(options)](options)


def sides_of(options: Imported) -> list[str]:
    """Sides ("right", "left") of the hand models that complete a dataset's labels; none if it has no use for them."""
    adapter = ADAPTERS[type(options)]
    return [side.name.lower() for side in adapter.sides] if adapter.pose_space or adapter.regressed else []
