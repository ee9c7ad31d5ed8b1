"""Where a fit begins: the palm laid on the target, then every bone turned as its own vertices say."""

import torch

from handgap.hands.fit.points import SkinnedPoints
from handgap.hands.kinematics import axis_angles

# fewer points than this do not tell how a bone is turned
_MIN_POINTS = 8


def rotations_between(covariance: torch.Tensor) -> torch.Tensor:
    """Rotations that best turn one set of points into another (Kabsch 1976).

    Args:
        covariance: (..., 3, 3) sums of source times target transposed, both about their means.
    """
    u, _, vt = torch.linalg.svd(covariance)
    v = vt.mT.clone()
    v[..., 2] *= torch.linalg.det(v @ u.mT)[..., None]
    return v @ u.mT


class BoneStart:
    """Start of a fit in closed form: no joint is further from its place than skin and shape make it.

    Every bone's rotation is the Kabsch rotation of the points that mostly hang on it; a bone with too few of its own
    (NIMBLE's metacarpals) goes with its parent. Pose coefficients off the mean do not matter: closed fists and spread
    fingers start as near as the mean pose does.

    Args:
        points: the model.
        mean: (n,) parameters about which poses vary.
    """

    def __init__(self, points: SkinnedPoints, mean: torch.Tensor):
        self._mean, self._n_pose = mean, points.n_pose
        # joints that do not turn (finger ends) belong to the next one above that does
        bone_of = [0] * len(points.parents)
        for joint, parent in enumerate(points.parents):
            bone_of[joint] = points.bones.index(joint) if joint in points.bones else bone_of[parent]
        self._parents = [bone_of[points.parents[joint]] if joint else 0 for joint in points.bones]
        weights = points.point_weights()
        owner = torch.tensor(bone_of, device=weights.device)
        owned = weights.new_zeros(len(points.bones), weights.shape[1]).index_add_(0, owner, weights) > 0.5
        self._known = (owned.sum(1) >= _MIN_POINTS).tolist()
        owned = owned.to(weights)
        shares = owned / owned.sum(1, keepdim=True).clamp_min(1.0)
        source = points(mean[None])[0]
        off_centre = source - (shares @ source.T)[..., None]
        # (3 R, P): its product with the target is every bone's covariance at once
        self._moments = (owned[:, None] * off_centre).flatten(0, 1)
        pose, shape, _ = points.split(mean[None])
        self._rotations = points.global_rotations(pose, shape)[0][0, points.bones]
        self._root = points.rest_joints(shape)[0, 0]
        self._palm = shares[0], source @ shares[0]

    def __call__(self, target: torch.Tensor) -> torch.Tensor:
        """Parameters (B, n) for targets (B, 3, P)."""
        covariance = (self._moments @ target.mT).unflatten(1, (-1, 3))
        turned = list(rotations_between(covariance).unbind(1))
        for bone, parent in enumerate(self._parents):
            if not self._known[bone]:
                turned[bone] = turned[parent]
        placed = torch.stack(turned, 1) @ self._rotations
        root = torch.eye(3, dtype=placed.dtype, device=placed.device).expand(len(placed), 1, 3, 3)
        above = torch.cat([root, placed[:, self._parents[1:]]], 1)
        parameters = self._mean.repeat(len(target), 1)
        parameters[:, : self._n_pose] = axis_angles(above.mT @ placed).flatten(1)
        shares, palm = self._palm
        parameters[:, -3:] = target @ shares - (turned[0] @ (palm - self._root)) - self._root
        return parameters
