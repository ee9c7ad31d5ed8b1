"""Taking single files out of archives without running or unpacking anything else of theirs."""

import base64
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from handgap.core.errors import CorruptFileError

_DATA_URL = re.compile(rb"data:[\w/+.-]+;base64,([A-Za-z0-9+/=]+)")


def wanted(name: str, patterns: Sequence[str]) -> bool:
    """Whether a member's name ends in one of the globs, component by component."""
    return any(PurePosixPath(name).match(pattern) for pattern in patterns)


def members(archive: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Regular files of a zip or tar archive whose name ends in one of the globs.

    Args:
        archive: .whl, .zip, .tar, .tar.gz or .tgz.
        patterns: globs; ``*`` stays within one path component.

    Yields:
        Member name and content. Callers keep the last component of the name only, so that no name, however made, can
        point outside the folder it is written to. Links are passed over.

    Raises:
        CorruptFileError: the archive cannot be read.
    """
    try:
        # tar first: a tar whose last member is a zip passes for a zip, never the other way round
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as bundle:
                for info in bundle:
                    if info.isfile() and wanted(info.name, patterns):
                        yield info.name, bundle.extractfile(info).read()
        else:
            with zipfile.ZipFile(archive) as bundle:
                for info in bundle.infolist():
                    if not info.is_dir() and wanted(info.filename, patterns):
                        yield info.filename, bundle.read(info)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise CorruptFileError(archive, f"not a whole archive ({error})", "fetch the asset again") from error


def decode_module(name: str, content: bytes) -> tuple[str, bytes]:
    """A file wrapped as a base64 data URL in a JavaScript module becomes the file itself.

    Args:
        name: base name, e.g. ``city.exr.js``; any other suffix is returned unchanged.
        content: the module's bytes.

    Raises:
        CorruptFileError: the module holds no data URL.
    """
    if not name.endswith(".js"):
        return name, content
    match = _DATA_URL.search(content)
    if match is None:
        raise CorruptFileError(name, "holds no base64 data URL", "check `file` in config/assets.csv")
    return name.removesuffix(".js"), base64.b64decode(match[1])
