"""The cache key sees the library: measured on a package made for the test."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from roadwork.fingerprint import code_hash
from steps.caching import library_cache

FAR = '''"""Far."""


def value() -> int:
    """One."""
    return 1


VALUE = value()
'''
FILES = {
    "__init__.py": '"""Nothing."""\n__version__ = "1"\n',
    "near.py": "from made_library.deep import far\n\nVALUE = far.VALUE\n",
    "deep/__init__.py": "",
    "deep/far.py": FAR,
    "late.py": "def f():\n    import made_library.lazy\n",
    "lazy.py": "X = 1\n",
    "unrelated.py": "Y = 1\n",
    "style/page.css": "body {}\n",
    "style/__init__.py": "",
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "made_library"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_library", raising=False)
    importlib.invalidate_caches()
    return root


@pytest.mark.parametrize(
    ("package", "file", "text", "changes"),
    [
        ("near", "near.py", FILES["near.py"] + "\nZ = 2\n", True),
        ("near", "deep/far.py", FAR.replace("return 1", "return 2"), True),
        ("near", "deep/__init__.py", "W = 1\n", True),
        ("near", "unrelated.py", "Y = 2\n", False),
        ("near", "__init__.py", '__version__ = "2"\n', False),
        ("near", "deep/far.py", "# note\n" + FAR.replace("One.", "1!"), False),
        ("near", "deep/far.py", FAR.replace("\n\n\n", "\n"), False),
        ("late", "lazy.py", "X = 2\n", True),
        ("style", "style/page.css", "body { color: red }\n", True),
        ("deep", "deep/new.py", "N = 1\n", True),
    ],
)
def test_hash_follows_what_is_used(
    library: Path, package: str, file: str, text: str, changes: bool
) -> None:
    package = f"made_library.{package}"
    before = code_hash([package])
    assert code_hash([package]) == before
    (library / file).write_text(text)
    assert (code_hash([package]) != before) is changes


def test_a_deleted_file_counts(library: Path) -> None:
    before = code_hash(["made_library"])
    (library / "unrelated.py").unlink()
    assert code_hash(["made_library"]) != before


def test_nothing_is_imported(library: Path) -> None:
    (library / "near.py").write_text("raise RuntimeError('imported')\n")
    code_hash(["made_library.near"])
    assert not [name for name in sys.modules if name.startswith("made_library")]


def test_the_hash_does_not_depend_on_the_place(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_hash(["made_library"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    library.rename(elsewhere / "made_library")
    monkeypatch.setattr(sys, "path", [str(elsewhere), *sys.path])
    importlib.invalidate_caches()
    assert code_hash(["made_library"]) == before


def test_an_unknown_package_is_refused_when_the_step_is_defined() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"roadwork\.weather"):
        library_cache("roadwork.data", "roadwork.weather")


def test_order_of_packages_does_not_matter(library: Path) -> None:
    first = library_cache("made_library.near", "made_library.late")
    second = library_cache("made_library.late", "made_library.near")
    assert first == second


def test_zenml_finds_the_function_by_its_recorded_name(library: Path) -> None:
    from zenml.config.cache_policy import CachePolicy
    from zenml.utils import source_utils

    policy = CachePolicy.model_validate_json(
        library_cache("made_library.near", "roadwork.data").model_dump_json()
    )
    assert policy.cache_func is not None
    assert source_utils.load(policy.cache_func)() == code_hash(
        ["made_library.near", "roadwork.data"]
    )


def test_a_run_is_cached_until_the_library_changes(library: Path, zenml: object) -> None:
    from tests.steps.made_pipeline import made_pipeline, statuses

    assert statuses(made_pipeline()) == {"answer": "completed"}
    assert statuses(made_pipeline()) == {"answer": "cached"}
    (library / "unrelated.py").write_text("Y = 2\n")
    assert statuses(made_pipeline()) == {"answer": "cached"}
    (library / "deep/far.py").write_text(FAR.replace("return 1", "return 2"))
    assert statuses(made_pipeline()) == {"answer": "completed"}
