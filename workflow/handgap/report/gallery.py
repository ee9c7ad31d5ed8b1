"""Tiles of the stages: samples with labels, fits, predictions, the hand models themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from handgap.core.conventions import MIDDLE_MCP, Side
from handgap.core.drawing import silhouette
from handgap.core.errors import CorruptFileError
from handgap.core.geometry import mirrored_left, procrustes_align, project
from handgap.core.images import decode_mask, decode_rgb
from handgap.core.store import ShardedStore, Store
from handgap.report.draw import MESH_COLOURS, draw_mask, draw_mesh, draw_region, draw_skeleton
from handgap.report.sheets import Tile, spread
from handgap.segment.score import image_scores

Overlay = Literal["joints", "mask", "none"]
SHOWN = 48
TRUTH, FITTED = (38, 132, 214), (244, 140, 20)
MESH_OPACITY = 0.9


class Images:
    """Images of some shards, found by sample id."""

    def __init__(self, paths: Sequence[Path]):
        self.store = ShardedStore(paths)
        self._rows = {int(sample): row for row, sample in enumerate(self.store.column("id"))}

    def row(self, sample: int) -> int:
        """Row of a sample.

        Raises:
            CorruptFileError: no such sample.
        """
        if sample not in self._rows:
            raise CorruptFileError(self.store.origin(0), f"no sample {sample} in it", "pass the shards of one split")
        return self._rows[sample]

    def rgb(self, sample: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        row = self.row(sample)
        return decode_rgb(self.store.row("image", row), self.store.origin(row))


def sample_tiles(
    images: Sequence[Path], overlay: Overlay, labels: Sequence[Path] = (), shown: int = SHOWN
) -> list[Tile]:
    """Samples of some shards with their labels drawn in.

    Args:
        images: shards with images.
        overlay: what is drawn.
        labels: shards the labels come from, if not the same ones (masks of the segment stage, say).
        shown: at most so many.
    """
    source = Images(images)
    with ShardedStore(labels or images) as store:
        rows = np.flatnonzero(store.column("valid"))
        ids = store.column("id")
        tiles = []
        for row in rows[spread(len(rows), shown)] if len(rows) else []:
            rgb = source.rgb(int(ids[row]))
            if overlay == "joints":
                rgb = draw_skeleton(rgb, project(store.row("joints", row), store.row("K", row)))
            elif overlay == "mask":
                rgb = draw_mask(rgb, decode_mask(store.row("mask", row), store.origin(row)))
            tiles.append(Tile(rgb, f"id {ids[row]}"))
    return tiles


def fit_tiles(fits: Sequence[Path], images: Sequence[Path], render_hand: Path, faces: np.ndarray) -> list[Tile]:
    """The annotated hand (blue) and the render hand fitted to it (orange) over the real image.

    Args:
        fits: shards of the fit stage.
        images: the real side's shards.
        render_hand: OpenNimble model.
        faces: (F, 3) of the annotation hand.
    """
    import torch

    from handgap.hands.render_hand import RenderHand

    layer = RenderHand.load(render_hand)
    with np.load(render_hand, allow_pickle=False) as file:
        render_faces = file["faces_stump"]
    source, tiles = Images(images), []
    with ShardedStore(fits) as store:
        rows = np.flatnonzero(store.column("valid"))
        ids, sides = store.column("id"), store.column("side")
        for row in rows[spread(len(rows), SHOWN // 2)] if len(rows) else []:
            parameters = (
                torch.from_numpy(store.row(f"render_{name}", row))[None] for name in ("pose", "shape", "trans")
            )
            with torch.no_grad():
                fitted = mirrored_left(layer(*parameters).vertices.numpy(), sides[row : row + 1])[0]
            rgb, K = source.rgb(int(ids[row])).copy(), store.row("K", row)
            for vertices, triangles, colour in (
                (fitted, render_faces, FITTED),
                (store.row("vertices", row), faces, TRUTH),
            ):
                draw_region(rgb, silhouette(project(vertices, K), triangles, *rgb.shape[:2]), colour, 0.2)
            tiles.append(Tile(rgb, f"id {ids[row]}: {store.row('residual_mm', row):.2f} mm"))
    return tiles


def failure_tiles(real: Sequence[Path], masks: Sequence[Path], shown: int = SHOWN // 6) -> list[Tile]:
    """Where the segmentation fails: pairs of pictures, the exact mask and the one found.

    Args:
        real: shards with exact masks.
        masks: their segmentation.
        shown: pairs at most of each kind: not valid, lowest IoU of hand, of arm and of object, object where is none.
    """
    source, tiles = Images(real), []
    with ShardedStore(masks) as store:
        ids, flags, valid = (store.column(name) for name in ("id", "flag", "valid"))
        rows = [source.row(int(sample)) for sample in ids]

        def pair(k: int) -> tuple[np.ndarray, np.ndarray]:
            exact = decode_mask(source.store.row("mask", rows[k]), source.store.origin(rows[k]))
            return exact, decode_mask(store.row("mask", k), store.origin(k))

        kinds = [[(k, flags[k]) for k in np.flatnonzero(~valid)]]
        scores = [image_scores(*pair(k)) for k in range(len(ids))]
        for name in ("hand", "arm", "object"):
            iou = np.array([score[name][0] for score in scores])
            worst = np.argsort(iou, kind="stable")
            kinds.append([(k, f"{name}: IoU {iou[k]:.2f}") for k in worst if valid[k] and not np.isnan(iou[k])])
        iou, _, given = zip(*(score["object"] for score in scores), strict=True)
        kinds.append([(k, "no object there") for k in np.flatnonzero(np.isnan(iou) & np.array(given))])
        for k, reason in (failure for kind in kinds for failure in kind[:shown]):
            exact, found = pair(k)
            rgb = source.rgb(int(ids[k]))
            tiles.append(Tile(draw_mask(rgb, exact), f"id {ids[k]}: exact"))
            tiles.append(Tile(draw_mask(rgb, found), reason))
    return tiles


def prediction_tiles(pred: Path, truth: Sequence[Path], faces: np.ndarray, shown: int = SHOWN // 3) -> list[Tile]:
    """Three pictures of a sample: the true joints, the predicted ones and the predicted mesh placed at the true root.

    Args:
        pred: predictions.
        truth: shards they were made for.
        faces: (F, 3) of the annotation hand.
        shown: samples at most.
    """
    source, tiles = Images(truth), []
    with Store(pred) as predictions:
        ids, joints, vertices, valid = (predictions.column(name) for name in ("id", "joints", "vertices", "valid"))
    usable = [k for k in np.flatnonzero(valid) if source.store.row("valid", source.row(int(ids[k])))]
    for k in (usable[index] for index in spread(len(usable), shown)) if usable else ():
        row = source.row(int(ids[k]))
        true, K, rgb = source.store.row("joints", row), source.store.row("K", row), source.rgb(int(ids[k]))
        shift = true[MIDDLE_MCP] - joints[k][MIDDLE_MCP]
        aligned = procrustes_align(true[None], joints[k][None])[0]
        error = 1000.0 * np.linalg.norm(aligned - true, axis=1).mean()
        tiles.append(Tile(draw_skeleton(rgb, project(true, K)), f"id {ids[k]}: truth"))
        tiles.append(Tile(draw_skeleton(rgb, project(joints[k] + shift, K)), f"predicted, PA error {error:.1f} mm"))
        colour = MESH_COLOURS[Side(source.store.row("side", row))]
        tiles.append(Tile(draw_mesh(rgb, vertices[k] + shift, faces, K, colour, MESH_OPACITY), "predicted mesh"))
    return tiles
