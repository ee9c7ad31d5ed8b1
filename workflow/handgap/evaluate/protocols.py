"""Evaluation protocols: a few declarative lines each, on top of `scores`."""

from dataclasses import dataclass, replace
from typing import Literal

from handgap.core.conventions import JOINT_NAMES, MIDDLE_MCP, WRIST
from handgap.evaluate.alignments import Alignment


@dataclass(frozen=True)
class Measure:
    """Errors of one kind of points after one alignment, and the names of the metrics made of them.

    Attributes:
        alignment: what is taken out first; joints and vertices each get their own.
        points: whose errors.
        error: name of the mean error.
        auc: name of the area under the PCK curve; empty: not reported.
        f: name of the F-scores, without the threshold in mm; empty: not reported.
    """

    alignment: Alignment
    points: Literal["joints", "vertices"]
    error: str
    auc: str = ""
    f: str = ""


@dataclass(frozen=True)
class Protocol:
    """How a dataset's authors judge predictions.

    Attributes:
        name: value of --protocol.
        source: whose evaluation it is.
        measures: 3D errors.
        root: joint that the root-relative error is measured from.
        tips: key of `conventions.TIP_VERTICES`: the fingertips among the 21 joints of truth and prediction; or
            "as labelled", where datasets without a mesh are judged.
        joints: where a prediction's 21 joints come from: its own column, or regressed from its vertices.
        auc_limit: largest PCK threshold, metres.
        auc_steps: number of PCK thresholds.
        f_thresholds: F-score thresholds, metres.
        hands: 2: the mean of both hands of a picture, and how the hands stand to each other.
        pixels: 2D PCK too.
        setup: split of DexYCB that is tested on.
    """

    name: str
    source: str
    measures: tuple[Measure, ...]
    root: int
    tips: str
    joints: Literal["predicted"] = "predicted"
    auc_limit: float = 0.05
    auc_steps: int = 100
    f_thresholds: tuple[float, ...] = (0.005, 0.015)
    hands: Literal[1, 2] = 1
    pixels: bool = False
    setup: str = ""

    @property
    def meshes(self) -> bool:
        """Whether it judges vertices."""
        return self.hands == 2 or any(measure.points == "vertices" for measure in self.measures)

    def describe(self) -> str:
        """What has to be known to compare a number with another: one line for metrics files and captions."""
        fitted = (m.alignment for m in self.measures if m.alignment not in ("none", "root"))
        parts = [", ".join(dict.fromkeys(fitted)), f"joints {self.joints}", f"tips {self.tips}"]
        parts.append(f"root {JOINT_NAMES[self.root]}")
        if self.setup:
            parts.append(f"split {self.setup}")
        if any(measure.auc for measure in self.measures):
            parts.append(f"AUC 0-{self.auc_limit * 1000:g} mm in {self.auc_steps} steps")
        return f"{self.name}: {'; '.join(parts)}"


_FREE, _PROPER = "similarity, reflection allowed", "similarity, reflection excluded"
_MESH = (
    Measure("none", "joints", "abs_mpjpe", auc="abs_auc_joints"),
    Measure("none", "vertices", "abs_mpvpe", auc="abs_auc_vertices", f="abs_f"),
)
FREIHAND = Protocol(
    name="freihand",
    source="Zimmermann et al., ICCV 2019: eval.py",
    measures=(
        Measure(_FREE, "joints", "pa_mpjpe", auc="pa_auc_joints"),
        Measure(_FREE, "vertices", "pa_mpvpe", auc="pa_auc_vertices", f="pa_f"),
        Measure("root", "joints", "mpjpe"),
        *_MESH,
    ),
    root=MIDDLE_MCP,
    tips="freihand",
)
HO3D_V2 = Protocol(
    name="ho3d_v2",
    source="Hampali et al., CVPR 2020: eval.py",
    measures=(
        Measure(_FREE, "joints", "pa_mpjpe", auc="pa_auc_joints"),
        Measure(_FREE, "vertices", "pa_mpvpe", auc="pa_auc_vertices", f="pa_f"),
        Measure("scale and wrist", "joints", "st_mpjpe", auc="st_auc_joints"),
        *_MESH,
    ),
    root=WRIST,
    tips="ho3d",
)
HO3D_V3 = replace(HO3D_V2, name="ho3d_v3")
DEXYCB = Protocol(
    name="dexycb",
    source="Chao et al., CVPR 2021: hpe_eval.py",
    measures=(
        Measure("none", "joints", "abs_mpjpe", auc="abs_auc_joints"),
        Measure("root", "joints", "mpjpe", auc="auc_joints"),
        Measure(_FREE, "joints", "pa_mpjpe", auc="pa_auc_joints"),
    ),
    root=WRIST,
    tips="manopth",
    setup="s0",
)
_DEXYCB = (DEXYCB, *(replace(DEXYCB, name=f"dexycb_{setup}", setup=setup) for setup in ("s1", "s2", "s3")))
RENDERIH = Protocol(
    name="renderih",
    source="Li et al., ICCV 2023: eval_interhand_newmpjpe.py",
    measures=(
        Measure("root", "joints", "mpjpe"),
        Measure("scale and root", "joints", "smpjpe"),
        Measure(_PROPER, "joints", "pa_mpjpe"),
    ),
    root=MIDDLE_MCP,
    tips="manopth",
    hands=2,
)
RENDERIH_WRIST = replace(RENDERIH, name="renderih_wrist", source="the same: eval_interhand.py", root=WRIST)
GEOREC = Protocol(
    name="georec",
    source="Xie et al., NeurIPS 2023; PCK of UniFrame (ECCV 2022)",
    measures=(Measure("root", "joints", "epe"), Measure("scale and root", "joints", "epe_known_scale")),
    root=MIDDLE_MCP,
    tips="as labelled",
    pixels=True,
)
PROTOCOLS = {
    protocol.name: protocol for protocol in (FREIHAND, HO3D_V2, HO3D_V3, *_DEXYCB, RENDERIH, RENDERIH_WRIST, GEOREC)
}
