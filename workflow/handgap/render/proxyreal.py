"""Rows of the proxy-real side: scenes of `proxy`, drawn, labelled and photographed."""

from pathlib import Path

import numpy as np

from handgap.core.config.dataset import Dataset
from handgap.core.conventions import MaskLabel, Side
from handgap.core.images import encode_depth, encode_mask
from handgap.core.seeds import rng
from handgap.render.camera import Camera
from handgap.render.labels import label
from handgap.render.light import map_name
from handgap.render.proxy import ProxyScenes, SceneError
from handgap.render.rows import blank
from handgap.render.shard import Row
from handgap.render.spec import GeometryError
from handgap.render.worker import Renderer

COLUMNS = {  # label of `ProxySample` -> shape of one row
    "joints": (21, 3),
    "vertices": (778, 3),
    "pose": (48,),
    "shape": (10,),
    "trans": (3,),
    "render_pose": (60,),
    "render_shape": (20,),
    "render_trans": (3,),
}


def proxy_row(number: int, scenes: ProxyScenes, renderer: Renderer, settings: Dataset, size: int, seed: int) -> Row:
    """Columns of one proxy-real sample; one that cannot be made keeps its place, grey, with the reason.

    Args:
        number: the sample's id.
        scenes: of its dataset and split.
        renderer: the Blender worker.
        settings: the dataset's section.
        size: image edge, px.
        seed: the study's seed.
    """
    sequence, frame = scenes.sequence(number)
    base: Row = {
        "id": np.int64(number),
        "side": np.uint8(Side.RIGHT),
        "sequence": np.int64(sequence),
        "frame": np.int64(frame),
    }
    try:
        sample = scenes.sample(number)
        truth = label(sample.spec, sample.joints)
    except (GeometryError, SceneError) as error:
        nothing = {name: np.zeros(shape, np.float32) for name, shape in COLUMNS.items()}
        nothing |= {"K": np.eye(3, dtype=np.float32), "occlusion": np.float32(0), "object": ""}
        return base | nothing | blank(size, str(error))
    camera = Camera.draw(rng(seed, f"{scenes.stage}/camera", sequence))
    noise = rng(seed, f"{scenes.stage}/noise", number)
    skin = sample.spec.parts[0].material.skin
    linear = renderer.render(sample.spec)
    return (
        base
        | {name: getattr(sample, name).astype(np.float32) for name in COLUMNS}
        | {
            "K": sample.spec.K.astype(np.float32),
            "image": camera.photograph(linear, truth.mask == MaskLabel.HAND, renderer.albedo(skin), noise, settings),
            "mask": encode_mask(truth.mask),
            "depth": encode_depth(truth.depth),
            "visibility": truth.visibility,
            "occlusion": np.float32(truth.occlusion),
            "object": sample.object,
            "hdri": map_name(Path(sample.spec.light.hdri)),
            "skin": np.int64(skin),
            "valid": True,
            "flag": "",
        }
    )
