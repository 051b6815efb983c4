"""Fingerprints: short names for exactly these inputs, computed by exactly this code.

Whether a result may be used again depends on the code that made it. :func:`code_hash` reads what a
module imports, directly or through others, so that a corrected loss or metric changes the hash of
everything above it. Comments, formatting and docstrings do not count; neither do the versions of
third parties.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

__all__ = ["code_hash", "fingerprint", "module_file"]


def fingerprint(*parts: str) -> str:
    """16 hexadecimal digits that change with any part."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode() + part.encode())
    return digest.hexdigest()[:16]


def code_hash(packages: Iterable[str]) -> str:
    """SHA-256 over the code of packages and of what they import from the same top-level packages.

    Nothing is imported: the imports are read from the sources.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    found: dict[str, str] = {}
    waiting: list[str] = []
    for package in packages:
        for name, path in _members(package):
            if path.suffix == ".py":
                waiting.append(name)
            else:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    tops = {name.partition(".")[0] for name in packages}
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None or name in found:
            continue
        stat = path.stat()
        found[name], imports = _read(path, stat.st_mtime_ns, stat.st_size)
        # Importing a module runs the packages above it: registries are filled there.
        parts = name.split(".")
        waiting += [".".join(parts[:length]) for length in range(1, len(parts))]
        waiting += [other for other in imports if other.partition(".")[0] in tops]
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def _file(name: str) -> Path | None:
    """Source file of a module, or None where the name is no module (or a namespace package)."""
    top, _, rest = name.partition(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin and not rest else None
    for folder in spec.submodule_search_locations:
        stem = Path(folder).joinpath(*rest.split(".")) if rest else Path(folder)
        for path in (stem / "__init__.py", stem.with_suffix(".py")):
            if path.is_file():
                return path
    return None


def module_file(name: str) -> Path:
    """Source file of a module or package.

    Raises:
        ModuleNotFoundError: there is no such one.
    """
    path = _file(name)
    if path is None:
        raise ModuleNotFoundError(
            f"there is no module or package {name} with source code: correct the name"
        )
    return path


def _members(package: str) -> Iterator[tuple[str, Path]]:
    """Module name and file of a module, or of everything inside a package."""
    root = module_file(package)
    if root.name != "__init__.py":
        yield package, root
        return
    for path in sorted(root.parent.rglob("*")):
        inner = path.relative_to(root.parent)
        if "__pycache__" in inner.parts or not path.is_file():
            continue
        if path.suffix == ".py":
            parts = inner.parent.parts if path.stem == "__init__" else inner.with_suffix("").parts
            yield ".".join((package, *parts)), path
        else:
            yield f"{package}:{inner.as_posix()}", path


@cache
def _read(path: Path, changed_ns: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Hash of a module's syntax tree, and the names that it imports.

    ``changed_ns`` and ``size`` are the key under which an edited file is read again.
    """
    tree = ast.parse(path.read_bytes(), str(path))
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module)
            # `from package import name` names a module or something within one.
            imports.update(f"{node.module}.{alias.name}" for alias in node.names)
    for node in ast.walk(tree):
        _strip(node)
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return digest, tuple(sorted(imports))


def _strip(node: ast.AST) -> None:
    """Take out what does not change results: texts that stand alone, and the version number."""
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return
    node.body = [  # pyright: ignore[reportAttributeAccessIssue]
        inner for inner in body if not (_is_text(inner) or _is_version(inner))
    ]


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_version(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__version__" for target in node.targets
    )
