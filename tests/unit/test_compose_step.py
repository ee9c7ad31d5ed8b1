"""Composition store to store: where every pixel, label and pairing of every variant comes from."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from handgap.compose import sources
from handgap.compose.pairs import random_partners
from handgap.compose.paste import match_colour
from handgap.compose.step import app
from handgap.core.config.compose import Composition
from handgap.core.conventions import MaskLabel
from handgap.core.errors import ConfigError, CorruptFileError
from handgap.core.images import (
    decode_depth,
    decode_mask,
    decode_rgb,
    encode_depth,
    encode_jpeg,
    encode_mask,
    encode_rgb,
)
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from pydantic import ValidationError
from typer.testing import CliRunner

SIZE, TOTAL, INVALID = 24, 12, 7
SHARD = 4
PROVENANCE = {"study": "t", "seed": 0, "code": "c", "config": "k"}
RANDOM = {"arm": "random", "object": "random"}
K = np.array([[30.0, 0, SIZE / 2], [0, 30.0, SIZE / 2], [0, 0, 1]], np.float32)


def picture(side: str, sample: int) -> np.ndarray:
    return rng(0, f"test/{side}", sample).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def labels_of(side: str, sample: int) -> np.ndarray:
    classes = 2 if side == "synthetic" else 5
    return rng(0, f"test/{side}/labels", sample).integers(0, classes, (SIZE, SIZE)).astype(np.uint8)


def joints_of(sample: int) -> np.ndarray:
    return rng(0, "test/joints", sample).uniform((-0.3, -0.3, 0.9), (0.3, 0.3, 1.1), (21, 3)).astype(np.float32)


def write_shard(folder: Path, side: str, ids: range) -> Path:
    ids = list(ids)
    valid = [side != "masks" or sample != INVALID for sample in ids]
    columns = {"id": np.array(ids, np.int64), "valid": np.array(valid), "flag": ["" if ok else "bad" for ok in valid]}
    if side == "real":
        columns["image"] = [encode_jpeg(picture(side, sample), 90) for sample in ids]
    elif side == "masks":
        columns["mask"] = [encode_mask(labels_of(side, sample)) for sample in ids]
    else:
        columns["image"] = [encode_rgb(picture(side, sample)) for sample in ids]
        columns["mask"] = [encode_mask(labels_of(side, sample)) for sample in ids]
        columns["depth"] = [encode_depth(np.full((SIZE, SIZE), 0.5)) for _ in ids]
        columns["K"], columns["joints"] = np.stack([K] * len(ids)), np.stack([joints_of(sample) for sample in ids])
        columns["visibility"] = np.ones((len(ids), 21), bool)
        columns["hdri"] = [f"map {sample}" for sample in ids]
    path = folder / f"{side}{ids[0]}-{ids[-1]}.h5"
    write_store(path, columns, **PROVENANCE)
    return path


def cut(folder: Path, side: str, size: int) -> list[Path]:
    return [write_shard(folder, side, range(k, min(k + size, TOTAL))) for k in range(0, TOTAL, size)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    return {side: cut(folder, side, SHARD) for side in ("synthetic", "real", "masks")}


def run(out: Path, synthetic: Path, real: list[Path], masks: list[Path], composition: dict, variant: str = "v") -> Path:
    arguments = [str(synthetic), "--variant", variant, "--composition", json.dumps(composition)]
    arguments += [text for path in real for text in ("--real", str(path))]
    arguments += [text for path in masks for text in ("--masks", str(path))]
    arguments += ["--out", str(out), "--study", "t", "--seed", "3", "--code", "c"]
    if "random" in composition.values():
        arguments += ["--split-size", str(TOTAL)]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    return out


def compose_all(folder: Path, files: dict[str, list[Path]], composition: dict) -> list[Path]:
    return [
        run(folder / f"{k}.h5", synthetic, files["real"], files["masks"], composition)
        for k, synthetic in enumerate(files["synthetic"])
    ]


def real_pixels(sample: int) -> np.ndarray:
    return decode_rgb(encode_jpeg(picture("real", sample), 90))


def fill_of(composition: Composition, sample: int, source: int) -> tuple[np.ndarray, np.ndarray]:
    generator = rng(3, "compose/v", sample)
    if composition.fill == "region_rgb":
        arm, held = generator.integers(0, 256, (2, 3), np.uint8)
        return np.broadcast_to(arm, (SIZE, SIZE, 3)), np.broadcast_to(held, (SIZE, SIZE, 3))
    if composition.fill == "rgb":
        return (generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8),) * 2
    pixels = real_pixels(source)
    if composition.colour == "reinhard":
        hands = [labels_of(*which) == MaskLabel.HAND for which in (("masks", source), ("synthetic", sample))]
        pixels = match_colour(pixels, hands[0], picture("synthetic", sample), hands[1])
    return pixels, pixels


VARIANTS = [
    {"arm": "none", "object": "none"},
    {},
    {"arm": "none"},
    {"object": "none"},
    RANDOM,
    {"arm": "random", "object": "none"},
    {"fill": "rgb"},
    {"fill": "region_rgb"},
    {"fill": "rgb", **RANDOM},
    {"colour": "reinhard"},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_pasted_pixels_are_the_sources_and_all_others_the_renders(tmp_path, files, settings):
    choice = Composition(**settings)
    source_of = {
        "none": np.full(TOTAL, -1),
        "own": np.arange(TOTAL),
        "random": random_partners(np.arange(TOTAL), TOTAL, 3, "v"),
    }[choice.origin]
    seen = []
    for path in compose_all(tmp_path, files, settings):
        with Store(path) as store:
            for row, sample in enumerate(store.column("id").tolist()):
                source = int(source_of[sample])
                image, labels = decode_rgb(store.column("image", row)), decode_mask(store.column("mask", row))
                before = labels_of("synthetic", sample)
                parts = labels_of("masks", source) if source not in (-1, INVALID) else np.zeros_like(before)
                held = (parts == MaskLabel.OBJECT) & (choice.object != "none")
                arm = (parts == MaskLabel.ARM) & (choice.arm != "none") & (before != MaskLabel.HAND)
                arm_pixels, object_pixels = fill_of(choice, sample, source if held.any() or arm.any() else 0)
                assert (image[held] == object_pixels[held]).all()
                assert (image[arm] == arm_pixels[arm]).all()
                rest = ~held & ~arm
                assert (image[rest] == picture("synthetic", sample)[rest]).all()
                assert (labels == np.where(held, MaskLabel.OBJECT, np.where(arm, MaskLabel.ARM, before))).all()
                depth = decode_depth(store.column("depth", row))
                assert (depth == np.where(rest, np.float32(0.5), 0)).all()
                hand = before == MaskLabel.HAND
                assert store.column("occlusion", row) == pytest.approx((hand & held).sum() / hand.sum())
                u, v = (
                    np.floor(joints_of(sample)[:, k] / joints_of(sample)[:, 2] * 30 + 12).astype(int) for k in (0, 1)
                )
                assert (store.column("visibility", row) == ~held[v, u]).all()
                bad = source == INVALID
                assert store.column("valid", row) == (not bad)
                assert store.column("flag", row) == (f"no valid mask of real image {INVALID}" if bad else "")
                assert store.column("hdri", row) == f"map {sample}"
                for name, piece in (("arm_from", choice.arm), ("object_from", choice.object)):
                    assert store.column(name, row) == (-1 if piece == "none" or bad else source)
                seen.append(sample)
            assert store.attrs["variant"] == "v"
    assert seen == list(range(TOTAL))


def test_every_real_image_is_decoded_once_over_a_split(tmp_path, files, monkeypatch):
    decoded = {"decode_rgb": Counter(), "decode_mask": Counter()}
    for name, counter in decoded.items():
        plain = getattr(sources, name)

        def counted(data, origin, plain=plain, counter=counter):
            counter[origin] += 1
            return plain(data, origin)

        monkeypatch.setattr(sources, name, counted)
    compose_all(tmp_path, files, RANDOM)
    for counter in decoded.values():
        assert set(counter.values()) == {1}
        assert len(counter) == TOTAL - 1  # the one without a valid mask is not read at all


def test_only_the_shards_of_the_partners_are_needed_and_no_other_cut_changes_a_sample(tmp_path, files):
    ids = np.arange(SHARD)
    partners = random_partners(ids, TOTAL, 3, "v")
    needed = np.unique(partners // SHARD)
    real, masks = ([files[side][k] for k in needed] for side in ("real", "masks"))
    few = run(tmp_path / "few.h5", files["synthetic"][0], real, masks, RANDOM)
    recut = {side: cut(tmp_path, side, 5) for side in ("synthetic", "real", "masks")}
    other = run(tmp_path / "other.h5", recut["synthetic"][0], recut["real"], recut["masks"], RANDOM)
    with Store(few) as a, Store(other) as b:
        for name in ("image", "mask", "depth"):
            assert all(
                x.tobytes() == y.tobytes() for x, y in zip(a.column(name), b.column(name, slice(SHARD)), strict=True)
            )
        assert a.column("arm_from").tolist() == b.column("arm_from", slice(SHARD)).tolist()
    with pytest.raises(CorruptFileError, match="no sample"):
        run(tmp_path / "out.h5", files["synthetic"][0], real[:-1], masks[:-1], RANDOM)


def test_same_inputs_same_bytes(tmp_path, files):
    sides = files["synthetic"][0], files["real"], files["masks"]
    first, second = (run(tmp_path / name, *sides, {"fill": "rgb", "feather": 3.0}) for name in ("a.h5", "b.h5"))
    assert first.read_bytes() == second.read_bytes()


def test_an_invalid_render_stays_as_it_is(tmp_path, files):
    with Store(files["synthetic"][0]) as store:
        columns = {name: store.column(name) for name in store.names}
    columns = {name: list(values) if values.dtype == object else values for name, values in columns.items()}
    columns["valid"], columns["flag"] = np.array([False] + [True] * (SHARD - 1)), ["no fit"] + [""] * (SHARD - 1)
    write_store(tmp_path / "s.h5", columns, **PROVENANCE)
    out = run(tmp_path / "out.h5", tmp_path / "s.h5", files["real"], files["masks"], {})
    with Store(out) as store:
        assert store.column("flag").tolist() == ["no fit", "", "", ""]
        assert store.column("arm_from").tolist() == [-1, 1, 2, 3]
        assert (decode_rgb(store.column("image", 0)) == picture("synthetic", 0)).all()


@pytest.mark.parametrize(
    ("labels", "arm", "held"),
    [(MaskLabel.ARM, 0, -1), (MaskLabel.OBJECT, -1, 0), (MaskLabel.HAND, -1, -1), (None, -1, -1)],
    ids=["arm", "object", "neither", "arm below the hand"],
)
def test_a_source_is_named_only_where_its_piece_is_seen(tmp_path, labels, arm, held):
    parts, hand = np.zeros((2, SIZE, SIZE), np.uint8)
    parts[4:8, 4:8] = MaskLabel.ARM if labels is None else labels
    hand[4:8, 4:8] = MaskLabel.HAND if labels is None else MaskLabel.BACKGROUND
    row = {"id": np.zeros(1, np.int64), "valid": np.ones(1, bool), "flag": [""]}
    row |= {"image": [encode_rgb(picture("real", 0))]}
    paths = {side: tmp_path / f"{side}.h5" for side in ("synthetic", "real", "masks")}
    for side, mask in (("synthetic", hand), ("real", hand), ("masks", parts)):
        write_store(paths[side], row | {"mask": [encode_mask(mask)]}, **PROVENANCE)
    with Store(run(tmp_path / "out.h5", paths["synthetic"], [paths["real"]], [paths["masks"]], {})) as store:
        assert (store.column("arm_from", 0), store.column("object_from", 0)) == (arm, held)


def test_what_does_not_fit_is_refused(tmp_path, files):
    synthetic, out = files["synthetic"][0], tmp_path / "out.h5"
    with pytest.raises(ConfigError, match="--real, --masks: none given for v"):
        run(out, synthetic, [], [], {})
    with pytest.raises(CorruptFileError, match="its ids are not those of"):
        run(out, synthetic, files["real"][:2], files["masks"][1:], {})
    arguments = [str(synthetic), "--variant", "v", "--composition", json.dumps(RANDOM), "--out", str(out)]
    arguments += ["--real", str(files["real"][0]), "--masks", str(files["masks"][0])]
    with pytest.raises(ConfigError, match="--split-size: not given"):
        CliRunner().invoke(app, [*arguments, "--study", "t", "--seed", "3", "--code", "c"], catch_exceptions=False)
    others = {"id": np.arange(SHARD), "valid": np.ones(SHARD, bool), "flag": [""] * SHARD}
    wide_mask, wide_image = np.zeros((SIZE, 2 * SIZE), np.uint8), np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    write_store(tmp_path / "masks.h5", others | {"mask": [encode_mask(wide_mask)] * SHARD}, **PROVENANCE)
    with pytest.raises(CorruptFileError, match="mask of real image 0: it is 48x24 px, the render 24x24 px"):
        run(out, synthetic, files["real"][:1], [tmp_path / "masks.h5"], {})
    write_store(tmp_path / "real.h5", others | {"image": [encode_rgb(wide_image)] * SHARD}, **PROVENANCE)
    with pytest.raises(CorruptFileError, match="real image 0: it is 48x24 px, the render 24x24 px"):
        run(out, synthetic, [tmp_path / "real.h5"], files["masks"][:1], {})
    write_store(tmp_path / "bad.h5", others | {"image": [np.zeros(9, np.uint8)] * SHARD}, **PROVENANCE)
    with pytest.raises(CorruptFileError, match=r"bad.h5\[0\]: an image in it cannot be decoded"):
        run(out, synthetic, [tmp_path / "bad.h5"], files["masks"][:1], {})
    assert not out.exists()


@pytest.mark.parametrize(
    "settings", [{"arm": "own", "object": "random"}, {"fill": "rgb", "colour": "reinhard"}, {"feather": -1}]
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        Composition(**settings)
