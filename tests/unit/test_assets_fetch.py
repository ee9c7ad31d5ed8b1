import base64
import errno
import io
import json
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from handgap.assets import clients, fetch
from handgap.assets.archives import decode_module, members
from handgap.assets.table import Asset
from handgap.core.errors import CorruptFileError, DiskFullError, MissingAssetError


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as bundle:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("p/data/link.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(link)
    return buffer.getvalue()


def make_asset(archive: bytes, **changes: object) -> Asset:
    values = {
        "id": "toy",
        "kind": "pip",
        "package": "a-package-nobody-installs",
        "version": "1",
        "file": "data/*.bin",
        "sha256": sha256(archive).hexdigest(),
        "content_sha256": sha256(b"one").hexdigest(),
        "size": len(archive),
        "licence": "CC0-1.0",
        "needed_by": "this test",
        "without": "the rest",
        "how_to_get": "ask",
    }
    return Asset.model_validate(values | changes)


@pytest.fixture
def serve(monkeypatch):
    """Have the pip client deliver these bytes."""

    def deliver(archive: bytes) -> None:
        def client(asset: Asset, folder: Path) -> Path:
            path = folder / "archive"
            path.write_bytes(archive)
            return path

        monkeypatch.setitem(clients.CLIENTS, "pip", client)

    return deliver


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_only_the_wanted_files_come_out_under_their_last_name(tmp_path, serve, pack):
    archive = pack({"p/setup.py": b"boom", "p/data/one.bin": b"one", "p/data/deep/two.bin": b"two"})
    serve(archive)
    marker = tmp_path / "assets" / "toy" / "asset.json"
    asset = make_asset(archive)
    fetch.fetch(asset, marker)
    assert sorted(path.name for path in marker.parent.iterdir()) == ["asset.json", "one.bin"]
    assert json.loads(marker.read_text())["files"]["one.bin"]["sha256"] == sha256(b"one").hexdigest()
    assert [path.name for path in marker.parent.parent.iterdir()] == ["toy"]
    assert fetch.state(asset, marker.parent) == "present"
    (marker.parent / "one.bin").write_bytes(b"two")
    assert fetch.state(asset, marker.parent) == "corrupt"
    fetch.fetch(asset, marker)
    assert fetch.state(asset, marker.parent) == "present"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_name_that_points_outside_stays_inside(tmp_path, serve, pack):
    archive = pack({"../../../data/one.bin": b"one"})
    serve(archive)
    fetch.fetch(make_asset(archive), tmp_path / "a" / "toy" / "asset.json")
    assert [path for path in tmp_path.rglob("one.bin")] == [tmp_path / "a" / "toy" / "one.bin"]


def test_a_tar_that_ends_with_a_zip_is_still_a_tar(tmp_path):
    archive = tmp_path / "tree.tar"
    archive.write_bytes(tarred({"./data/one.bin": zipped({"data/inner.bin": b"inner"})}, mode="w"))
    assert [name for name, _ in members(archive, ["data/*.bin"])] == ["./data/one.bin"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sha256": "0" * 64}, CorruptFileError, "sha256 is"),
        ({"content_sha256": "0" * 64}, CorruptFileError, "content sha256 is"),
        ({"file": "data/*.exr"}, MissingAssetError, "holds no data/"),
    ],
)
def test_a_wrong_archive_leaves_nothing(tmp_path, serve, changes, error, message):
    archive = zipped({"p/data/one.bin": b"one"})
    serve(archive)
    with pytest.raises(error, match=message):
        fetch.fetch(make_asset(archive, **changes), tmp_path / "assets" / "toy" / "asset.json")
    assert list((tmp_path / "assets").iterdir()) == []


def test_a_cut_archive_is_corrupt(tmp_path):
    archive = tmp_path / "cut.whl"
    archive.write_bytes(zipped({"data/one.bin": b"one" * 1000})[:-30])
    with pytest.raises(CorruptFileError, match="not a whole archive"):
        list(members(archive, ["data/*.bin"]))


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, serve, monkeypatch):
    archive = zipped({"p/data/one.bin": b"one"})
    serve(archive)

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_put", full)
    with pytest.raises(DiskFullError, match="no space left"):
        fetch.fetch(make_asset(archive), tmp_path / "assets" / "toy" / "asset.json")
    assert list((tmp_path / "assets").iterdir()) == []


def test_a_manual_asset_is_asked_for_then_checked(tmp_path):
    asset = make_asset(b"", kind="manual", file="model.pkl", sha256="", content_sha256="")
    marker = tmp_path / "toy" / "asset.json"
    with pytest.raises(MissingAssetError, match=r"needed by this test\n  cure: ask"):
        fetch.fetch(asset, marker)
    marker.parent.mkdir()
    assert fetch.state(asset, marker.parent) == "missing"
    (marker.parent / "model.pkl").write_bytes(b"x")
    assert fetch.state(asset, marker.parent) == "unchecked"
    fetch.fetch(asset, marker)
    assert fetch.state(asset, marker.parent) == "present"


def test_a_manual_asset_of_known_content_must_be_that(tmp_path):
    asset = make_asset(
        b"", kind="manual", file="w.pth", sha256="", content_sha256=sha256(b"weights").hexdigest(), size=7
    )
    marker = tmp_path / "toy" / "asset.json"
    marker.parent.mkdir()
    for content, message in ((b"weigh", "5 bytes, not 7: a download cut short"), (b"WEIGHTS", "content sha256 is")):
        (marker.parent / "w.pth").write_bytes(content)
        with pytest.raises(CorruptFileError, match=rf"{message}[^\n]*\n  cure: get it anew: ask"):
            fetch.fetch(asset, marker)
        assert not marker.exists()
    (marker.parent / "w.pth").write_bytes(b"weights")
    fetch.fetch(asset, marker)
    assert fetch.state(asset, marker.parent) == "present"


def test_an_installed_package_is_read_in_place(tmp_path):
    numpy = pytest.importorskip("numpy")
    asset = make_asset(b"", package="numpy", version=numpy.__version__, file="numpy/version.py")
    assert [path.name for path in clients.installed_files(asset)] == ["version.py"]
    assert clients.installed_files(asset.model_copy(update={"version": "0"})) == []


def test_an_index_that_does_not_answer_is_a_fetch_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(clients.FetchError, match="the package index failed"):
        clients.fetch_pip(make_asset(b""), tmp_path)


def test_a_base64_module_becomes_its_file():
    module = b"export default 'data:application/exr;base64," + base64.b64encode(b"v/1\x01") + b"'"
    assert decode_module("city.exr.js", module) == ("city.exr", b"v/1\x01")
    assert decode_module("one.bin", b"one") == ("one.bin", b"one")
    with pytest.raises(CorruptFileError, match="no base64"):
        decode_module("city.exr.js", b"export default 1")
