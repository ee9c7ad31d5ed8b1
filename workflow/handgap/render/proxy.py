"""Proxy-real scenes: a whole forearm, held things in a real grasp, sleeves and watches, seen from all round.

Two kinds: free hands, each picture by itself, and sequences in which a hand takes a thing.

What the synthetic side lacks, and (with `camera`) a physical camera's faults. Skins are those the synthetic side never
wears, light is any map. Of both, a dataset's splits take turns, so that train and test share no skin and no scene.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from handgap.core.config.dataset import Dataset
from handgap.core.conventions import MaskLabel
from handgap.core.errors import ConfigError, HandgapError
from handgap.core.geometry import project, random_rotation, rodrigues
from handgap.core.seeds import integer_seed, rng
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.kinematics import axis_angles
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.garments import Forearm, sleeve, watch
from handgap.render.grasp import Grasp, Grasper
from handgap.render.light import draw_light
from handgap.render.objects import HeldObject
from handgap.render.sequence import Choreographer, Moment
from handgap.render.spec import Lens, MeshPart, Panorama, SceneSpec, SkinMaterial

Thing = TypeVar("Thing")
FOREARM = 25  # its column in the skin weights
MAX_OBJECTS, MAX_VIEWS = 10, 300
HAND_BOX = (0.50, 0.85)  # longest side of the hand's box, share of the image
SEQUENCE_BOX = (0.60, 0.90)  # of the box round the hands of all frames
DISTANCE = (0.35, 0.9)  # metres from the camera
NEAREST_SKIN = 0.12  # metres
BEHIND = (0.3, 0.65)  # metres from the hand's farthest point to the nearest of what lies behind it
ELBOW = 0.02  # metres of the arm's end that must not show
TOWARDS_CAMERA = 0.65  # cosine between forearm and line of sight above which the arm hides its hand


class SceneError(HandgapError):
    """No scene met the requirements within the tries allowed."""


@dataclass(frozen=True)
class ProxySample:
    """A scene and its labels.

    Attributes:
        spec: what to render.
        joints: (21, 3) and vertices: (778, 3), metres, camera frame.
        pose, shape, trans: (48,), (10,), (3,) annotation-hand parameters: the render hand's joint rotations, shape
            by linear least squares on the rest surface, translation by the mean. They reproduce `vertices` only up to
            `residual_mm` (mean vertex distance): the two hands' pose correctives and centres differ.
        render_pose, render_shape, render_trans: (60,), (S,), (3,) parameters of the hand rendered.
        forearm: (3,) axis-angle of the forearm at the wrist.
        object: kind of the held thing ("sweethome3d/..." out of a catalogue), "" = none.
    """

    spec: SceneSpec
    joints: np.ndarray
    vertices: np.ndarray
    pose: np.ndarray
    shape: np.ndarray
    trans: np.ndarray
    residual_mm: float
    render_pose: np.ndarray
    render_shape: np.ndarray
    render_trans: np.ndarray
    forearm: np.ndarray
    object: str


@dataclass(frozen=True)
class _Shot:
    """What the frames of a sequence share: person, thing, camera, light.

    Attributes:
        moments: the frames.
        skins: (N, V, 3) and wrists: (N, 3) of each frame, metres, camera frame.
        rest_wrist: (3,) before any motion.
        turn, trans: (3, 3), (3,) from the hand at rest, holding the thing, to the camera.
        held: the thing and how it is held, or None.
    """

    shape: np.ndarray
    forearm: np.ndarray
    moments: list[Moment]
    skins: np.ndarray
    rest_wrist: np.ndarray
    wrists: np.ndarray
    turn: np.ndarray
    trans: np.ndarray
    K: np.ndarray
    held: tuple[HeldObject, Grasp] | None
    material: SkinMaterial
    clutter: MeshPart | None
    light: Panorama
    fstop: float


class ProxyScenes:
    """Scenes of one split of a proxy-real dataset.

    Args:
        name: of the dataset.
        split: one of the dataset's.
        settings: the dataset's section.
        render_hand, annotation_hand: the models' .npz.
        skins: indices of the proxy-real skins.
        hdris: all environment maps, sorted.
        objects: kinds of things to hold, each drawn as often; a thing comes of a source of randomness.
        size: image edge, px.
        seed: the study's seed.
        subsurface: skin with subsurface scattering.

    Raises:
        ConfigError: the dataset has no such split.
    """

    def __init__(
        self,
        name: str,
        split: str,
        settings: Dataset,
        *,
        render_hand: Path,
        annotation_hand: Path,
        skins: Sequence[int],
        hdris: Sequence[Path],
        objects: Sequence[Callable[[np.random.Generator], HeldObject]],
        size: int,
        seed: int,
        subsurface: bool = True,
    ):
        if split not in settings.splits:
            raise ConfigError(f"datasets.{name}.splits", f"has no '{split}'", f"one of {list(settings.splits)}")
        self._hand, self._annotation = RenderHand.load(render_hand), AnnotationHand.load(annotation_hand)
        self._prior = PosePrior.load(render_hand)
        self._grasper = Grasper(self._hand, self._prior)
        self._choreographer = Choreographer(self._grasper, self._prior)
        with np.load(render_hand, allow_pickle=False) as arrays:
            self._faces, self._arm_faces = arrays["faces_forearm"].astype(np.int32), arrays["arm_faces"]
            self._uv, self._uv_faces = arrays["uv"], arrays["uv_faces_forearm"]
        self._arm = np.unique(self._faces[self._arm_faces])
        reach = np.linalg.norm(self._hand.v_template.numpy()[self._arm], axis=1)  # the rest frame's origin: the wrist
        self._end = self._arm[reach > reach.max() - ELBOW]
        self._sleeved = np.flatnonzero(self._hand.weights[:, FOREARM].numpy() > 0.02)
        self._palm_side = np.setdiff1d(np.arange(len(self._hand.weights)), self._arm)
        turn, turns = list(settings.splits).index(split), len(settings.splits)
        self._skins = _turn_of(skins, turn, turns)
        self._hdris = _turn_of(hdris, turn, turns)
        self._objects = objects
        self.stage, self._settings = f"render/proxyreal/{name}/{split}", settings
        self._size, self._seed, self._subsurface = size, seed, subsurface
        self._length = settings.sequence_length if settings.kind == "grasp_sequences" else 1
        self._shot = lru_cache(maxsize=1)(self._draw_shot)

    def sample(self, sample_id: int) -> ProxySample:
        """Scene and labels of one sample: a function of its id and the study's seed alone.

        Raises:
            SceneError: no grasp or view met the requirements.
        """
        number, frame = self.sequence(sample_id)
        shot = self._shot(number)
        moment, skin, wrist = shot.moments[frame], shot.skins[frame], shot.wrists[frame]
        turn = shot.turn @ moment.hand.turn
        pose = moment.pose.copy()
        pose[:3] = axis_angles(torch.from_numpy(turn)).numpy()
        clothes = self._clothes(
            skin, wrist, turn @ rodrigues(shot.forearm), rng(self._seed, f"{self.stage}/clothes", number)
        )
        parts = [self._hand_part(skin, shot.material), *clothes]
        if shot.held is not None:
            thing, grasp = shot.held
            place = moment.thing.moved(grasp.translation, shot.rest_wrist)
            parts.append(thing.part(shot.turn @ moment.thing.turn @ grasp.rotation, shot.turn @ place + shot.trans))
        if shot.clutter is not None:
            parts.append(shot.clutter)
        spec = SceneSpec(
            sample_id=sample_id,
            K=shot.K,
            width=self._size,
            height=self._size,
            parts=parts,
            light=shot.light,
            seed=integer_seed(self._seed, self.stage, sample_id),
            lens=Lens(shot.fstop, focus=float(skin[self._palm_side, 2].mean())),
        )
        trans = wrist - shot.rest_wrist
        kind = shot.held[0].kind if shot.held else ""
        return self._labelled(spec, skin, pose, shot.shape, trans, shot.forearm, kind)

    def sequence(self, sample_id: int) -> tuple[int, int]:
        """Number of a sample's sequence and its frame there; a free hand is a sequence of its own."""
        return divmod(sample_id, self._length)

    def _draw_shot(self, number: int) -> _Shot:
        """What the frames of a sequence share."""
        g = rng(self._seed, self.stage, number)
        shape = self._prior.sample_shape(g)
        held, moments = self._performance(shape, g)
        forearm = np.radians(np.clip(g.normal(0, [16.0, 6.0, 8.0]), [-45, -12, -18], [45, 12, 18]))
        rest, wrist = self._skins_at_rest([moment.pose for moment in moments], shape, forearm)
        skins = np.stack([moment.hand.moved(skin, wrist) for moment, skin in zip(moments, rest, strict=True)])
        turn, trans, K = self._view(skins, g)
        skins = skins @ turn.T + trans
        material = SkinMaterial(
            int(self._skins[g.integers(len(self._skins))]),
            subsurface=self._subsurface,
            roughness_gain=float(g.uniform(0.9, 1.25)),
        )
        return _Shot(
            shape=shape,
            forearm=forearm,
            moments=moments,
            skins=skins,
            rest_wrist=wrist,
            wrists=np.stack([moment.hand.moved(wrist, wrist) for moment in moments]) @ turn.T + trans,
            turn=turn,
            trans=trans,
            K=K,
            held=held,
            material=material,
            clutter=self._clutter(skins, K, g) if g.random() < self._settings.clutter_ratio else None,
            light=draw_light(g, self._hdris),
            fstop=float(g.uniform(8, 22)),
        )

    def _performance(
        self, shape: np.ndarray, g: np.random.Generator
    ) -> tuple[tuple[HeldObject, Grasp] | None, list[Moment]]:
        """What is held, if anything, and what the hand does."""
        if self._settings.kind == "grasp_sequences":
            return self._taken(shape, g)
        if g.random() < self._settings.held_object_ratio:
            held = self._held(shape, g)
            return held, [Moment(held[1].pose)]
        return None, [Moment(self._prior.sample_pose(g))]

    def _taken(self, shape: np.ndarray, g: np.random.Generator) -> tuple[tuple[HeldObject, Grasp], list[Moment]]:
        _, wrist = self._skins_at_rest([np.zeros(60)], shape, np.zeros(3))
        for _ in range(MAX_OBJECTS):
            thing, grasp = self._held(shape, g)
            moments = self._choreographer.moments(thing, grasp, shape, wrist, self._length, g)
            if moments is not None:
                return (thing, grasp), moments
        raise SceneError(self.stage, f"no way to take any of {MAX_OBJECTS} objects", "check the hand model")

    def _thing(self, g: np.random.Generator) -> HeldObject:
        return self._objects[g.integers(len(self._objects))](g)

    def _held(self, shape: np.ndarray, g: np.random.Generator) -> tuple[HeldObject, Grasp]:
        for _ in range(MAX_OBJECTS):
            thing = self._thing(g)
            grasp = self._grasper.grasp(thing, shape, g)
            if grasp is not None:
                return thing, grasp
        raise SceneError(self.stage, f"no grasp of {MAX_OBJECTS} objects", "check the hand model")

    def _skins_at_rest(
        self, poses: list[np.ndarray], shape: np.ndarray, forearm: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Skins (N, V, 3) of some poses and the wrist (3,), before any motion of the hand."""
        batch = (np.stack(poses), *(np.tile(x, (len(poses), 1)) for x in (shape, np.zeros(3), forearm)))
        with torch.inference_mode():
            out = self._hand(*(torch.from_numpy(x).float() for x in batch))
        return out.vertices.numpy().astype(np.float64), out.joints25[0, 0].numpy().astype(np.float64)

    def _view(self, skins: np.ndarray, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotation (3, 3), translation (3,) and K (3, 3) for skins (N, V, 3): the arm comes from outside the picture.

        One camera sees all frames; the hand's box is the one round all of them.
        """
        size = self._size
        box = HAND_BOX if len(skins) == 1 else SEQUENCE_BOX
        for _ in range(MAX_VIEWS):
            turn, distance = random_rotation(g), g.uniform(*DISTANCE)
            points = skins @ turn.T
            hand = points[:, self._palm_side].reshape(-1, 3)
            move = np.array([0.0, 0.0, distance]) - (hand.min(0) + hand.max(0)) / 2
            hand = hand + move
            flat = hand[:, :2] / hand[:, 2:]
            focal = g.uniform(*box) * size / np.ptp(flat, axis=0).max()
            centre = size * (0.5 + g.normal(0, 0.02, 2))
            K = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
            # the hand's box near the middle of the picture
            aim = size * (0.5 + g.uniform(-0.06, 0.06, 2))
            middle = (flat.min(0) + flat.max(0)) / 2
            move[:2] += ((aim - centre) / focal - middle) * distance
            points = points + move
            sight = points[:, self._palm_side].mean(1)
            elbow = points[:, self._end].mean(1) - sight
            towards = -(elbow * sight).sum(1) / np.linalg.norm(elbow, axis=1) / np.linalg.norm(sight, axis=1)
            if towards.max() > TOWARDS_CAMERA or points[..., 2].min() < NEAREST_SKIN:
                continue
            end = project(points[:, self._end].reshape(-1, 3), K)
            if ((end > -2) & (end < size + 2)).all(1).any():
                continue
            return turn, move, K
        raise SceneError(self.stage, f"no view in {MAX_VIEWS} shows the hand well", "check the forearm of the model")

    def _hand_part(self, skin: np.ndarray, material: SkinMaterial) -> MeshPart:
        label = np.where(self._arm_faces, MaskLabel.ARM, MaskLabel.HAND).astype(np.uint8)
        return MeshPart("hand", skin, self._faces, label, material, self._uv, self._uv_faces)

    def _clothes(self, skin: np.ndarray, wrist: np.ndarray, turn: np.ndarray, g: np.random.Generator) -> list[MeshPart]:
        along = skin[self._end].mean(0) - wrist
        along /= np.linalg.norm(along)
        back = turn[:, 2] - (turn[:, 2] @ along) * along  # z of the rest frame: out of the back of the hand
        back /= np.linalg.norm(back)
        arm = Forearm(wrist, np.stack([back, np.cross(along, back), along], 1), skin[self._sleeved])
        if g.random() < self._settings.sleeve_ratio:
            return [sleeve(arm, g)]
        return watch(arm, g) if g.random() < self._settings.watch_ratio else []

    def _clutter(self, skins: np.ndarray, K: np.ndarray, g: np.random.Generator) -> MeshPart:
        """Something well behind the hand of all frames, anywhere in the picture."""
        behind = g.uniform(*BEHIND)
        pixel = np.append(g.uniform(0, self._size, 2), 1.0)
        part = self._thing(g).part(random_rotation(g), np.zeros(3), MaskLabel.BACKGROUND)
        depth = skins[..., 2].max() + behind - part.vertices[:, 2].min()
        return replace(part, vertices=part.vertices + np.linalg.inv(K) @ pixel * depth)

    def _labelled(
        self,
        spec: SceneSpec,
        skin: np.ndarray,
        render_pose: np.ndarray,
        render_shape: np.ndarray,
        render_trans: np.ndarray,
        forearm: np.ndarray,
        kind: str,
    ) -> ProxySample:
        with torch.inference_mode():
            vertices = self._hand.to_annotation(torch.from_numpy(skin).float()[None])
            pose = self._hand.annotation_pose(torch.from_numpy(render_pose).float()[None])
            rest = self._skins_at_rest([np.zeros(60)], render_shape, np.zeros(3))[0][0]
            target = self._hand.to_annotation(torch.from_numpy(rest).float()[None])[0] - self._annotation.v_template
            target = target - target.mean(0)
            basis = self._annotation.shapedirs - self._annotation.shapedirs.mean(0)
            # in double precision, as single precision differs in its last bits from process to process
            solution = np.linalg.lstsq(basis.flatten(0, 1).double().numpy(), target.flatten().double().numpy(), None)[0]
            shape = torch.from_numpy(solution).float()[None]
            posed = self._annotation(pose, shape, torch.zeros(1, 3)).vertices
            trans = (vertices - posed).mean(1)
            residual = (vertices - posed - trans[:, None]).norm(dim=-1).mean()
            joints = self._annotation.regress_joints(vertices)
        return ProxySample(
            spec=spec,
            joints=joints[0].numpy(),
            vertices=vertices[0].numpy(),
            pose=pose[0].numpy(),
            shape=shape[0].numpy(),
            trans=trans[0].numpy(),
            residual_mm=1000.0 * float(residual),
            render_pose=render_pose,
            render_shape=render_shape,
            render_trans=render_trans,
            forearm=forearm,
            object=kind,
        )


def _turn_of(things: Sequence[Thing], turn: int, turns: int) -> Sequence[Thing]:
    """Every `turns`-th thing from the `turn`-th on; all of them where there are too few to share."""
    return things[turn::turns] if len(things) >= turns else things
