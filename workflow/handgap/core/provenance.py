"""Hashes that say what a file was made from: code, settings, other files."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

from handgap.core.errors import MissingAssetError

PACKAGE = "handgap"
ROOT = Path(__file__).resolve().parent.parent


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes.

    Raises:
        MissingAssetError: there is no such file.
    """
    if not path.is_file():
        raise MissingAssetError(path, "no such file", f"make it: snakemake {path}")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settings_hash(settings: object) -> str:
    """Short hash of JSON-like settings, independent of key order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _module_file(module: str) -> Path | None:
    """Source file of `handgap...`, or None when no such module exists (an imported name, say)."""
    base = ROOT.joinpath(*module.split(".")[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _imports(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, anywhere in its source, and the packages that hold them."""
    path = _module_file(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                base = f"{parent}.{base}" if base else parent
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE:
                found |= {".".join(parts[: k + 1]) for k in range(len(parts))}
    return frozenset(name for name in found if _module_file(name))


@cache
def modules_of(module: str) -> tuple[str, ...]:
    """The module and all modules of this package that it imports, directly or not, sorted."""
    seen, queue = set(), [module]
    while queue:
        current = queue.pop()
        if current not in seen:
            seen.add(current)
            queue.extend(_imports(current))
    return tuple(sorted(seen))


@cache
def code_of(module: str) -> str:
    """Content hash of a module and everything of this package it imports.

    Used as a rule's parameter, so that an edit in a library module reruns exactly the rules that depend on it, and a
    `touch` or a fresh clone reruns nothing.

    Args:
        module: dotted name below the package, e.g. ``"render.step"``.

    Raises:
        ModuleNotFoundError: no such module in the package.
    """
    name = f"{PACKAGE}.{module}"
    if _module_file(name) is None:
        raise ModuleNotFoundError(f"{name}: no such module under {ROOT.name}/")
    digest = hashlib.sha256()
    for part in modules_of(name):
        digest.update(part.encode() + b"\0" + _module_file(part).read_bytes())
    return digest.hexdigest()[:12]
