from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.config.dataset import Dataset
from handgap.core.conventions import MaskLabel
from handgap.core.errors import ConfigError
from handgap.core.geometry import project
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.render_hand import RenderHand
from handgap.render.labels import label
from handgap.render.objects import random_object
from handgap.render.proxy import ProxyScenes

MODELS = Path(__file__).parents[2] / "results" / "models"
pytestmark = pytest.mark.skipif(
    not all((MODELS / name).exists() for name in ("open_nimble.npz", "open_mano.npz")),
    reason="needs results/models/open_{nimble,mano}.npz (snakemake makes them)",
)
MAPS = [Path(f"{k}.exr") for k in range(8)]


def scenes(split="train", objects=(random_object,), **settings):
    return ProxyScenes(
        "proxyfrei",
        split,
        Dataset(**settings),
        render_hand=MODELS / "open_nimble.npz",
        annotation_hand=MODELS / "open_mano.npz",
        skins=range(1, 12, 2),
        hdris=MAPS,
        objects=objects,
        size=224,
        seed=0,
    )


@pytest.fixture(scope="module")
def samples():
    return [scenes().sample(k) for k in range(6)]


def test_a_sample_does_not_depend_on_those_drawn_before(samples):
    again = scenes().sample(3)
    assert np.array_equal(again.joints, samples[3].joints)
    for a, b in zip(again.spec.parts, samples[3].spec.parts, strict=True):
        assert np.array_equal(a.vertices, b.vertices)


def test_the_picture_shows_the_hand_and_not_the_end_of_the_arm(samples):
    for sample in samples:
        mask = label(sample.spec, sample.joints).mask
        rows, columns = np.nonzero(mask == MaskLabel.HAND)
        assert 60 < max(np.ptp(rows), np.ptp(columns)) < 190
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert (border == MaskLabel.ARM).any() or not (mask == MaskLabel.ARM).any()
        pixel = project(sample.joints, sample.spec.K)
        assert ((pixel > -20) & (pixel < 244)).all()


def test_parameters_reproduce_the_labels(samples):
    render, annotation = RenderHand.load(MODELS / "open_nimble.npz"), AnnotationHand.load(MODELS / "open_mano.npz")
    for sample in samples:
        rendered = (sample.render_pose, sample.render_shape, sample.render_trans, sample.forearm)
        with torch.inference_mode():
            skin = render(*(torch.from_numpy(np.asarray(x)).float()[None] for x in rendered)).vertices
            hand = annotation(*(torch.from_numpy(x)[None] for x in (sample.pose, sample.shape, sample.trans)))
        assert np.abs(skin[0].numpy() - sample.spec.parts[0].vertices).max() < 1e-5
        assert np.abs(render.to_annotation(skin)[0].numpy() - sample.vertices).max() < 1e-5
        apart = np.linalg.norm(hand.vertices[0].numpy() - sample.vertices, axis=1)
        assert 1000 * apart.mean() == pytest.approx(sample.residual_mm, abs=0.01)
        assert sample.residual_mm < 1.5


def test_splits_share_no_skin_and_no_scene():
    seen = {}
    for split in ("train", "test"):
        drawn = [scenes(split, held_object_ratio=0.0).sample(k) for k in range(12)]
        seen[split] = {s.spec.parts[0].material.skin for s in drawn}, {s.spec.light.hdri for s in drawn}
    assert not seen["train"][0] & seen["test"][0] and not seen["train"][1] & seen["test"][1]
    assert all(skin % 2 for skin in seen["train"][0] | seen["test"][0])


def test_clothes_belong_to_the_arm():
    names = [p.name for p in scenes(sleeve_ratio=1.0, held_object_ratio=0.0).sample(0).spec.parts]
    assert "sleeve" in names
    parts = scenes(sleeve_ratio=0.0, watch_ratio=1.0, held_object_ratio=0.0).sample(0).spec.parts
    assert {p.name for p in parts} >= {"watch.band", "watch.case"}
    assert all(p.label == MaskLabel.ARM for p in parts if p.name.startswith("watch"))


def test_clutter_lies_well_behind_the_hand():
    for k in range(8):
        parts = {p.name.split(".")[0]: p for p in scenes(clutter_ratio=1.0, held_object_ratio=0.0).sample(k).spec.parts}
        assert parts["clutter"].vertices[:, 2].min() >= parts["hand"].vertices[:, 2].max() + 0.3
        assert parts["clutter"].label == MaskLabel.BACKGROUND


def test_things_come_of_every_source_the_study_names():
    def other(generator):
        return replace(random_object(generator), kind="other/thing")

    held = {scenes(objects=(random_object, other), held_object_ratio=1.0).sample(k).object for k in range(8)}
    assert "other/thing" in held and held - {"other/thing"}


def test_unknown_split_is_named():
    with pytest.raises(ConfigError, match="validation"):
        scenes("validation")
