from pathlib import Path

import numpy as np
import pytest
from handgap.core.conventions import FINGERS
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.grasp import CONTACT, PENETRATION, Grasper
from handgap.render.objects import random_object

MODEL = Path(__file__).parents[2] / "results" / "models" / "open_nimble.npz"
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="needs results/models/open_nimble.npz (snakemake makes it)")


@pytest.mark.parametrize("kind", ["can", "mug", "banana", "marker", "box"])
def test_grasps_touch_and_do_not_penetrate(kind):
    hand, prior = RenderHand.load(MODEL), PosePrior.load(MODEL)
    generator = np.random.default_rng(1)
    thing, shape = random_object(generator, kind), prior.sample_shape(generator)
    grasp = Grasper(hand, prior).grasp(thing, shape, generator)
    assert grasp is not None
    own = (grasp.vertices - grasp.translation) @ grasp.rotation
    distance = thing.solid.distance(own)
    assert distance.min() > -PENETRATION - 1e-9
    near = np.unique(hand.weights.argmax(1).numpy()[distance < CONTACT])
    fingers = {(joint - 1) // 5 for joint in near if joint > 5 and joint % 5}
    assert len(fingers) >= 2
    assert len(set(grasp.contacts) & set(FINGERS[1:])) >= 2
    assert {"palm", "thumb"} & set(grasp.contacts)


def test_a_thing_too_large_is_refused():
    hand, prior = RenderHand.load(MODEL), PosePrior.load(MODEL)
    generator = np.random.default_rng(1)
    thing = random_object(generator, "ball")
    shape = prior.sample_shape(generator)
    huge = type(thing.solid)(thing.solid.profile * 10, corner=0.0)
    assert Grasper(hand, prior).grasp(type(thing)("ball", huge, thing.material, 0.6), shape, generator) is None
