"""The allocator is told once, and a machine without glibc is no fault."""

from __future__ import annotations

import ctypes
import sys

import pytest

from roadwork.allocator import keep_freed_memory


@pytest.fixture(autouse=True)
def fresh() -> None:
    keep_freed_memory.cache_clear()


def test_glibc_accepts_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Libc:
        def mallopt(self, name: int, value: int) -> int:
            asked.append((name, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libc())
    assert keep_freed_memory() is (sys.platform == "linux")
    assert keep_freed_memory() is (sys.platform == "linux")
    assert asked == ([(-3, 1 << 30), (-1, 1 << 30)] if sys.platform == "linux" else [])


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError("libc.so.6: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert keep_freed_memory() is False
