"""Fetching an asset: archive by package client, hash, the wanted files alone, then the folder in one rename."""

import errno
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from handgap.assets.archives import decode_module, members
from handgap.assets.clients import CLIENTS, deb_files, installed_files
from handgap.assets.table import Asset, content_sha256
from handgap.core.errors import CorruptFileError, DiskFullError, MissingAssetError
from handgap.core.files import written_whole
from handgap.core.provenance import file_sha256

MARKER = "asset.json"


def fetch(asset: Asset, marker: Path) -> None:
    """Bring an asset into the folder of its marker file, whole or not at all.

    A pip asset whose exact version is installed already is taken from there; a manual one must lie in the folder and is
    only checked. The marker (JSON: what it is, and size and sha256 of each file) is what other rules depend on.

    Args:
        asset: row of the table.
        marker: results/assets/<id>/asset.json.

    Raises:
        FetchError: network or package client failed.
        MissingAssetError: a manual asset is not there, or the archive holds none of the files.
        CorruptFileError: an archive or file has another hash than the table says.
        DiskFullError: no room; nothing of the asset remains.
    """
    folder = marker.parent
    if asset.kind == "manual":
        present = manual_files(asset, folder)
        if not present:
            raise MissingAssetError(folder / asset.file, f"not there; needed by {asset.needed_by}", asset.how_to_get)
        size = sum(path.stat().st_size for path in present)
        if asset.content_sha256 and asset.size not in (0, size):
            problem = f"{size:,} bytes, not {asset.size:,}: a download cut short, or another file"
            raise CorruptFileError(folder / asset.file, problem, f"get it anew: {asset.how_to_get}")
        with written_whole(marker) as temporary:
            temporary.write_text(_describe(asset, present))
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{asset.id}.", dir=folder.parent) as workspace:
            files = Path(workspace, "files")
            files.mkdir()
            for name, content in _contents(asset, Path(workspace)):
                _put(asset, files, name, content)
            if not any(files.iterdir()):
                raise MissingAssetError(asset.package, f"holds no {asset.file}", "correct `file` in config/assets.csv")
            Path(files, MARKER).write_text(_describe(asset, sorted(files.iterdir())))
            # the folder may exist: empty, made for the output, or left from before
            shutil.rmtree(folder, ignore_errors=True)
            files.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(folder, "no space left on the device", "free some space and start again") from error
        raise


def manual_files(asset: Asset, folder: Path) -> list[Path]:
    """Files of a manual asset that lie in its folder; empty unless every pattern has one."""
    found = [sorted(folder.glob(pattern)) for pattern in asset.patterns]
    return [path for group in found for path in group] if all(found) else []


def _contents(asset: Asset, workspace: Path) -> Iterable[tuple[str, bytes]]:
    """Name and content of each wanted file."""
    if asset.kind == "pip" and (installed := installed_files(asset)):
        return ((path.name, path.read_bytes()) for path in installed)
    archive = CLIENTS[asset.kind](asset, workspace)
    if (found := file_sha256(archive)) != asset.sha256:
        raise CorruptFileError(
            archive.name,
            f"sha256 is {found}, not {asset.sha256}",
            "fetch it again; if it stays so, the package was changed and must not be trusted",
        )
    return members(deb_files(archive) if asset.kind == "deb" else archive, asset.patterns)


def _put(asset: Asset, folder: Path, member: str, content: bytes) -> None:
    name, content = decode_module(Path(member).name, content)
    if Path(folder, name).exists():
        raise CorruptFileError(asset.package, f"holds two files named {name}", "narrow `file` in config/assets.csv")
    Path(folder, name).write_bytes(content)


def _describe(asset: Asset, files: list[Path]) -> str:
    """Text of the marker, after the files were compared with the table."""
    hashes = {path.name: file_sha256(path) for path in files}
    found = content_sha256(hashes)
    if asset.content_sha256 and found != asset.content_sha256:
        raise CorruptFileError(
            asset.file, f"content sha256 is {found}, not {asset.content_sha256}", f"get it anew: {asset.how_to_get}"
        )
    described = {path.name: {"sha256": hashes[path.name], "size": path.stat().st_size} for path in files}
    row = {name: getattr(asset, name) for name in ("id", "kind", "package", "version", "licence")}
    return json.dumps({**row, "files": described}, indent=1) + "\n"


def state(asset: Asset, folder: Path) -> str:
    """``present`` (every file whole), ``corrupt``, ``missing``, or ``unchecked`` (a manual one that no run used)."""
    marker = folder / MARKER
    if not marker.is_file():
        return "unchecked" if asset.kind == "manual" and manual_files(asset, folder) else "missing"
    for name, facts in json.loads(marker.read_text())["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["size"] or file_sha256(path) != facts["sha256"]:
            return "corrupt"
    return "present"
