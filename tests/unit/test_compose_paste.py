import json
from pathlib import Path

import numpy as np
import pytest
from handgap.compose.paste import Layer, draw_partner, paste
from handgap.compose.step import app
from handgap.core.conventions import MaskLabel
from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_mask, decode_rgb, encode_mask, encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from typer.testing import CliRunner

SIZE = 24
PROVENANCE = {"study": "t", "seed": 0, "code": "c", "config": "k"}


def picture(sample: int) -> np.ndarray:
    return rng(0, "test/picture", sample).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def labels_of(sample: int, classes: int) -> np.ndarray:
    return rng(0, "test/labels", sample).integers(0, classes, (SIZE, SIZE)).astype(np.uint8)


def write_side(path: Path, ids: list[int], classes: int, offset: int, valid: list[bool] | None = None) -> Path:
    columns = {
        "id": np.array(ids, np.int64),
        "image": [encode_rgb(picture(sample + offset)) for sample in ids],
        "mask": [encode_mask(labels_of(sample + offset, classes)) for sample in ids],
        "valid": np.array(valid or [True] * len(ids)),
        "flag": ["" if ok else "no mask" for ok in valid or [True] * len(ids)],
    }
    write_store(path, columns, **PROVENANCE)
    return path


def run(out: Path, synthetic: Path, real: list[Path], composition: dict, variant: str = "v") -> None:
    arguments = ["compose", str(synthetic), "--variant", variant, "--composition", json.dumps(composition)]
    arguments += [part for path in real for part in ("--real", str(path), "--masks", str(path))]
    arguments += ["--out", str(out), "--study", "t", "--seed", "3", "--code", "c"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_every_pixel_comes_from_where_it_should():
    synthetic, source, labels = picture(0), picture(1), labels_of(0, 2)
    parts = labels_of(1, 4)
    arm, held = parts == MaskLabel.ARM, parts == MaskLabel.OBJECT
    before = synthetic.copy()
    image, result = paste(synthetic, labels, Layer(source, arm), Layer(source, held))
    for y in range(SIZE):
        for x in range(SIZE):
            if held[y, x]:
                expected, label = source[y, x], MaskLabel.OBJECT
            elif arm[y, x] and labels[y, x] == 0:
                expected, label = source[y, x], MaskLabel.ARM
            else:
                expected, label = synthetic[y, x], labels[y, x]
            assert (image[y, x] == expected).all()
            assert result[y, x] == label
    assert (synthetic == before).all()


def test_nothing_to_paste_changes_nothing():
    image, labels = paste(picture(0), labels_of(0, 2))
    assert (image == picture(0)).all()
    assert (labels == labels_of(0, 2)).all()


def test_partner_is_another_valid_id_drawn_uniformly():
    valid = np.array([2, 3, 5, 8])
    drawn = [draw_partner(valid, 3, rng(0, "test/partner", k)) for k in range(3000)]
    ids, counts = np.unique(drawn, return_counts=True)
    assert ids.tolist() == [2, 5, 8]
    assert np.abs(counts - 1000).max() < 120
    with pytest.raises(ValueError, match="no valid image but 3"):
        draw_partner(np.array([3]), 3, rng(0, "test/partner"))


@pytest.fixture
def sides(tmp_path):
    synthetic = write_side(tmp_path / "synthetic.h5", [0, 1, 2, 3], classes=2, offset=0)
    real = [
        write_side(tmp_path / "real0.h5", [0, 1], classes=4, offset=100),
        write_side(tmp_path / "real1.h5", [2, 3], classes=4, offset=100, valid=[True, False]),
    ]
    return synthetic, real


def check(out: Path, source_of: dict[int, int], arm: bool = True, held: bool = True) -> None:
    with Store(out) as store:
        for row, sample in enumerate(store.column("id")):
            source = source_of[int(sample)]
            real = picture(source + 100)
            parts = labels_of(source + 100, 4)
            layers = [Layer(real, parts == label) for label in (MaskLabel.ARM, MaskLabel.OBJECT)]
            expected, labels = paste(
                picture(sample), labels_of(sample, 2), layers[0] if arm else None, layers[1] if held else None
            )
            assert (decode_rgb(store.column("image", row)) == expected).all()
            assert (decode_mask(store.column("mask", row)) == labels).all()


def test_own_pieces_of_one_shard(tmp_path, sides):
    synthetic, real = sides
    run(tmp_path / "out.h5", synthetic, real, {"arm": "own", "object": "none"})
    with Store(tmp_path / "out.h5") as store:
        assert store.column("partner").tolist() == [0, 1, 2, 3]
        assert store.column("valid").tolist() == [True, True, True, False]
        assert store.column("flag").tolist()[3] == "no valid mask of the real image"
        assert (decode_rgb(store.column("image", 3)) == picture(3)).all()
        assert (decode_rgb(store.column("image", 0)) != picture(0)).any()


def test_random_pieces_are_the_same_in_any_shards(tmp_path, sides):
    synthetic, real = sides
    both = {"arm": "random", "object": "random"}
    run(tmp_path / "whole.h5", synthetic, real, both)
    with Store(tmp_path / "whole.h5") as store:
        partners = dict(zip(store.column("id").tolist(), store.column("partner").tolist(), strict=True))
        images = [item.tobytes() for item in store.column("image")]
    assert all(partner in (0, 1, 2) and partner != sample for sample, partner in partners.items())
    check(tmp_path / "whole.h5", partners)
    part = write_side(tmp_path / "part.h5", [2, 3], classes=2, offset=0)
    run(tmp_path / "part_out.h5", part, real[::-1], both)
    with Store(tmp_path / "part_out.h5") as store:
        assert [item.tobytes() for item in store.column("image")] == images[2:]
    run(tmp_path / "other.h5", synthetic, real, both, variant="w")
    with Store(tmp_path / "other.h5") as store:
        assert store.column("partner").tolist() != list(partners.values())


def test_same_inputs_same_bytes(tmp_path, sides):
    synthetic, real = sides
    for name in ("a.h5", "b.h5"):
        run(tmp_path / name, synthetic, real, {"fill": "rgb"})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_random_colours_replace_the_pixels_but_not_the_masks(tmp_path, sides):
    synthetic, real = sides
    run(tmp_path / "rgb.h5", synthetic, real, {"fill": "rgb"})
    run(tmp_path / "own.h5", synthetic, real, {"fill": "real"})
    with Store(tmp_path / "rgb.h5") as coloured, Store(tmp_path / "own.h5") as own:
        labels = decode_mask(own.column("mask", 0))
        assert (decode_mask(coloured.column("mask", 0)) == labels).all()
        changed = (decode_rgb(coloured.column("image", 0)) != decode_rgb(own.column("image", 0))).any(-1)
    pasted = labels >= MaskLabel.ARM
    assert not changed[~pasted].any()
    assert changed[pasted].mean() > 0.99


def test_masks_of_other_samples_are_refused(tmp_path, sides):
    synthetic, real = sides
    with pytest.raises(CorruptFileError, match="no sample 2"):
        run(tmp_path / "out.h5", synthetic, real[:1], {})
