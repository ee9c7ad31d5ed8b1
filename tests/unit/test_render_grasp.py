from pathlib import Path

import numpy as np
import pytest
from handgap.core.conventions import FINGERS
from handgap.hands.prior import CHAINS, PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.grasp import CONTACT, PENETRATION, Grasper
from handgap.render.objects import random_object

MODEL = Path(__file__).parents[2] / "results" / "models" / "open_nimble.npz"
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="needs results/models/open_nimble.npz (snakemake makes it)")


PRECISE = ("marker", "phone", "remote", "screwdriver", "torch", "book")


@pytest.mark.parametrize(
    ("kind", "share"), [*((k, 0.0) for k in ("can", "mug", "banana", "marker", "box")), *((k, 1.0) for k in PRECISE)]
)
def test_grasps_touch_and_do_not_penetrate(kind, share, monkeypatch):
    monkeypatch.setattr("handgap.render.grasp.PRECISION_SHARE", share)
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
    if share:
        assert {"thumb", "index"} <= set(grasp.contacts) and "palm" not in grasp.contacts
    if share and thing.flat:  # a card's faces, +-y, meet thumb and fingers
        thumb, *fingers = (own[hand.weights.argmax(1).numpy() == joint, 1].mean() for joint in CHAINS[:3, 2])
        assert thumb < 0 < np.mean(fingers)


@pytest.mark.parametrize("kind", ["can", "marker"])
def test_closing_starts_open_and_ends_in_the_grasp(kind):
    hand, prior = RenderHand.load(MODEL), PosePrior.load(MODEL)
    generator = np.random.default_rng(2)
    thing, shape = random_object(generator, kind), prior.sample_shape(generator)
    grasper = Grasper(hand, prior)
    grasp = grasper.grasp(thing, shape, generator)
    assert np.abs(prior.pose_of(grasp.closed(1.0).limited()) - grasp.pose).max() < 1e-9
    np.testing.assert_array_equal(grasp.closed(0.0).flexion, grasp.closing[0].flexion)
    way = grasper.skins([grasp.closed(share) for share in np.linspace(0.0, 1.0, 30)], shape)
    depth = -thing.solid.distance((way - grasp.translation) @ grasp.rotation).min(1)
    assert depth.max() < PENETRATION + 1e-3
    assert np.linalg.norm(np.diff(way, axis=0), axis=2).max() < 0.012


def test_a_thing_too_large_is_refused():
    hand, prior = RenderHand.load(MODEL), PosePrior.load(MODEL)
    generator = np.random.default_rng(1)
    thing = random_object(generator, "ball")
    shape = prior.sample_shape(generator)
    huge = type(thing.solid)(thing.solid.profile * 10, corner=0.0)
    assert Grasper(hand, prior).grasp(type(thing)("ball", huge, thing.material, 0.6), shape, generator) is None
