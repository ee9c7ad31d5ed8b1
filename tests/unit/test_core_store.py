import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from handgap.core.errors import CorruptFileError, DiskFullError, MissingAssetError
from handgap.core.images import decode_depth, decode_mask, decode_rgb, encode_depth, encode_mask, encode_rgb
from handgap.core.store import ShardedStore, Store, write_store
from PIL import Image

PROVENANCE = {"study": "test", "seed": 0, "code": "c0de", "config": "c0f1"}


def columns(first: int, count: int) -> dict[str, object]:
    images = [np.full((6, 5, 3), k, np.uint8) for k in range(first, first + count)]
    return {
        "id": np.arange(first, first + count),
        "image": [encode_rgb(image) for image in images],
        "joints": np.stack([np.full((21, 3), k, np.float32) for k in range(first, first + count)]),
        "flag": [f"sample {k}" for k in range(first, first + count)],
    }


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_store(path, columns(3, 4), **PROVENANCE, parents=["p"], extra={"box_source": "palm"})
    with Store(path) as store:
        assert len(store) == 4
        assert store.column("id").tolist() == [3, 4, 5, 6]
        assert store.column("flag", 1) == "sample 4"
        assert (decode_rgb(store.column("image", 2)) == 5).all()
        assert store.attrs["box_source"] == "palm"
        store.verify()


def test_same_columns_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_store(tmp_path / name, columns(0, 5), **PROVENANCE)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_rows_with_the_same_picture_cost_one_picture(tmp_path: Path) -> None:
    pictures = [encode_rgb(np.random.default_rng(k).integers(0, 255, (64, 64, 3), np.uint8)) for k in range(4)]
    alone, pairs = tmp_path / "alone.h5", tmp_path / "pairs.h5"
    write_store(alone, {"id": np.arange(4), "image": pictures}, **PROVENANCE)
    doubled = [pictures[k // 2] for k in range(8)]
    write_store(pairs, {"id": np.arange(8), "image_id": np.arange(8) // 2, "image": doubled}, **PROVENANCE)
    assert pairs.stat().st_size < alone.stat().st_size + 4096
    with Store(pairs) as store:
        assert store.names == ["id", "image", "image_id"]
        assert (store.column("image", 3) == doubled[3]).all()
        for rows in (slice(2, 7), [0, 1, 6]):
            wanted = [doubled[k] for k in np.arange(8)[rows]]
            assert all((a == b).all() for a, b in zip(store.column("image", rows), wanted, strict=True))
        store.verify()


def test_sharded_rows_are_found_without_reading_others(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.h5" for k in range(3)]
    for path, first, count in zip(paths, (0, 2, 7), (2, 5, 1), strict=True):
        write_store(path, columns(first, count), **PROVENANCE)
    with ShardedStore(paths) as shards:
        assert len(shards) == 8
        assert [int(shards.row("id", k)) for k in range(8)] == list(range(8))
        assert shards.origin(6) == f"{paths[1]}[4]"


@pytest.mark.parametrize("keep", [0, 40, 0.5, 0.99])
def test_truncated_file_is_refused_with_its_name(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "cut.h5"
    write_store(path, columns(0, 4), **PROVENANCE)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(CorruptFileError, match=r"cut\.h5"), Store(path) as store:
        store.verify()


def test_flipped_byte_does_not_pass_verification(tmp_path: Path) -> None:
    path = tmp_path / "flip.h5"
    write_store(path, columns(0, 4), **PROVENANCE)
    data = bytearray(path.read_bytes())
    at = data.find(np.full((21, 3), 2, np.float32).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    with Store(path) as store, pytest.raises(CorruptFileError, match="digest"):
        store.verify()


def test_missing_file_and_column(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match="nowhere"):
        Store(tmp_path / "nowhere.h5")
    write_store(tmp_path / "a.h5", columns(0, 1), **PROVENANCE)
    with Store(tmp_path / "a.h5") as store, pytest.raises(CorruptFileError, match="no column 'depth'"):
        store.column("depth")


def test_columns_of_different_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different length"):
        write_store(tmp_path / "a.h5", {"id": np.arange(2), "K": np.zeros((3, 3, 3))}, **PROVENANCE)
    assert not (tmp_path / "a.h5").exists()


def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        big = {"id": np.arange(2), "noise": np.random.default_rng(0).normal(size=(2, 100_000))}
        with pytest.raises(DiskFullError, match=r"big\.h5: no space left"):
            write_store(tmp_path / "big.h5", big, **PROVENANCE)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_mask_and_depth_codecs() -> None:
    labels = np.arange(20, dtype=np.uint8).reshape(4, 5) % 5
    assert (decode_mask(encode_mask(labels)) == labels).all()
    depth = np.linspace(0, 2.5, 20).reshape(4, 5)
    assert np.abs(decode_depth(encode_depth(depth)) - depth).max() <= 0.0005 + 1e-6
    with pytest.raises(ValueError, match="depth outside"):
        encode_depth(np.array([[70.0]]))
    with pytest.raises(CorruptFileError, match=r"x\.h5\[3\]"):
        decode_rgb(np.zeros(9, np.uint8), "x.h5[3]")


def test_damaged_pictures_are_one_error() -> None:
    whole = encode_rgb(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)).tobytes()
    for picture in (damaged_png(), whole[: len(whole) // 2], b"II*\0" + bytes(40), b"BM" + bytes(60)):
        with pytest.raises(CorruptFileError, match=r"a\.png"):
            decode_rgb(np.frombuffer(picture, np.uint8), "a.png")


def damaged_png() -> bytes:
    """A PNG whose second data chunk has lost its name, which Pillow calls a syntax error."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(file, "PNG")
    data = file.getvalue()
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    return data[:second] + b"\0DAT" + data[second + 4 :]
