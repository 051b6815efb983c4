"""Cache policies that see the library: a step runs again when the code that it uses has changed.

ZenML's own cache key holds the source of the step function and nothing beneath it, so that a
corrected loss or metric would leave the old result in place. :func:`library_cache` adds one hash
over every module of this checkout that the step's packages import, directly or through others.
"""

from __future__ import annotations

from collections.abc import Callable

from zenml.config.cache_policy import CachePolicy
from zenml.config.source import Source

from roadwork.fingerprint import code_hash, module_file

__all__ = ["library_cache"]

_PREFIX = "code_of__"


def library_cache(*packages: str) -> CachePolicy:
    """ZenML's default cache policy, and the code of packages.

    Comments, formatting and docstrings do not count; neither do the versions of third parties.

    Args:
        packages: dotted names of packages or modules, such as ``"roadwork.data"``. A package
            stands for every file in it, data files included.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    for package in packages:
        module_file(package)
    name = _PREFIX + "__".join(sorted(packages)).replace(".", "_0_")
    return CachePolicy(cache_func=Source.from_import_path(f"{__name__}.{name}"))


def __getattr__(name: str) -> Callable[[], str]:
    """Functions that ZenML looks up by name, in this process and in that of a remote step."""
    if not name.startswith(_PREFIX):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    packages = name.removeprefix(_PREFIX).replace("_0_", ".").split("__")
    return lambda: code_hash(packages)
