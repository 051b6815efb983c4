"""Storage: the same content read the same way from disk, memory and S3; errors say what to do."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from roadwork.data import storage
from roadwork.errors import ConfigError, DataError
from tests.data import s3

FILES = {"a.jpg": b"first", "b/c.JPG": b"second", "b/d/e.txt": b"third", "b-x/f.jpg": b"4"}


@pytest.fixture(params=["disk", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder of every kind."""
    if request.param == "disk":
        return str(tmp_path)
    if request.param == "memory":
        return request.getfixturevalue("memory") + "/in"
    return request.getfixturevalue("s3_bucket") + "/in"


@pytest.fixture
def filled(root: str) -> str:
    for name, data in FILES.items():
        storage.write_bytes(storage.join(root, name), data)
    return root


def test_what_was_written_is_listed_and_read(filled: str) -> None:
    listed = storage.list_files(filled)
    assert [storage.relative_to(file.uri, filled) for file in listed] == [
        "a.jpg",
        "b-x/f.jpg",
        "b/c.JPG",
        "b/d/e.txt",
    ]
    for file in listed:
        name = storage.relative_to(file.uri, filled)
        assert storage.read_bytes(file.uri) == FILES[name]
        assert file.size == len(FILES[name])
        assert storage.stat_of(file.uri).size == file.size
        with storage.open_stored(file.uri) as opened:
            opened.seek(2)
            assert opened.read(2) == FILES[name][2:4]
    assert len(storage.list_files(filled, (".jpg",))) == 3
    assert storage.list_folders(filled) == ["b", "b-x"]
    assert storage.list_files(storage.join(filled, "nowhere")) == []


def test_files_and_folders_are_told_apart(filled: str) -> None:
    file, folder = storage.join(filled, "a.jpg"), storage.join(filled, "b")
    absent = storage.join(filled, "absent")
    assert [storage.exists(uri) for uri in (file, folder, absent)] == [True, True, False]
    assert [storage.is_folder(uri) for uri in (file, folder, absent)] == [False, True, False]


def test_ranges(filled: str) -> None:
    uri = storage.join(filled, "b/c.JPG")
    assert storage.read_range(uri, 2, 3) == b"con"
    assert storage.read_range(uri, 4, 100) == b"nd"
    assert storage.read_range(uri, 4, 0) == b""


def test_an_empty_file_is_read(root: str) -> None:
    storage.write_bytes(storage.join(root, "none"), b"")
    assert storage.read_bytes(storage.join(root, "none")) == b""


def test_a_stamp_follows_the_content(filled: str) -> None:
    before = storage.list_files(filled)
    assert storage.list_files(filled) == before
    uri = storage.join(filled, "a.jpg")
    storage.write_bytes(uri, b"FIRST")
    if not storage.is_remote(uri):
        os.utime(uri, ns=(1, 1))  # disks may be too coarse for two writes in a row
    changed = [
        new.uri for old, new in zip(before, storage.list_files(filled), strict=True) if old != new
    ]
    assert changed == [uri]


def test_what_is_not_there_is_a_file_not_found(filled: str) -> None:
    absent = storage.join(filled, "absent.jpg")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(absent)
    with pytest.raises(FileNotFoundError):
        storage.read_range(absent, 0, 3)
    with pytest.raises(FileNotFoundError):
        storage.stat_of(absent)
    with pytest.raises(FileNotFoundError):
        storage.open_stored(absent)


def test_a_made_file_is_moved_there(root: str, tmp_path: Path) -> None:
    made = tmp_path / "made.bin"
    made.write_bytes(b"x" * 1000)
    target = storage.join(root, "moved.bin")
    storage.write_file(target, made)
    assert storage.read_bytes(target) == b"x" * 1000
    assert not made.exists()


def test_a_local_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "file"
    storage.write_bytes(str(target), b"old")
    with pytest.raises(TypeError):
        storage.write_bytes(str(target), "not bytes")  # pyright: ignore[reportArgumentType]
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_many_threads_read_at_once(filled: str) -> None:
    uris = [storage.join(filled, name) for name in FILES] * 10
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(storage.read_bytes, uris)) == list(FILES.values()) * 10


def test_a_child_process_reads_too(s3_bucket: str) -> None:
    """A fork after the client was used: it must not wait for the parent's thread."""
    uri = storage.join(s3_bucket, "a")
    storage.write_bytes(uri, b"first")
    script = (
        "import os, sys\n"
        "from roadwork.data.storage import read_bytes\n"
        "assert read_bytes(sys.argv[1]) == b'first'\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if read_bytes(sys.argv[1]) == b'first' else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    subprocess.run([sys.executable, "-c", script, uri], check=True, timeout=60)


def test_file_urls_are_paths(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"first")
    uri = f"file://{tmp_path}/a.jpg"
    assert not storage.is_remote(uri)
    assert storage.read_bytes(uri) == b"first"
    assert storage.exists(uri)


@pytest.mark.parametrize(
    ("uri", "container"),
    [
        ("s3://b/x.parquet#row=12", "s3://b/x.parquet"),
        ("/d/x.arrow#row=0", "/d/x.arrow"),
        ("x.tar#bytes=512+20", "x.tar"),
        ("/d/odd#name.jpg", None),
        ("/d/x.jpg#row=1", None),
        ("/d/x.parquet", None),
    ],
)
def test_containers_of_addresses(uri: str, container: str | None) -> None:
    assert storage.container_of(uri) == container


def test_below_means_below() -> None:
    assert storage.relative_to("s3://b/in/a/b", "s3://b/in/") == "a/b"
    with pytest.raises(ValueError, match="does not lie below"):
        storage.relative_to("s3://b/inner/a", "s3://b/in")


def test_a_bucket_that_is_not_there(s3_bucket: str) -> None:
    for ask in (storage.read_bytes, storage.stat_of, storage.list_folders):
        with pytest.raises(
            ConfigError, match=r"s3://elsewhere/a.*no such bucket.*AWS_ENDPOINT_URL"
        ):
            ask("s3://elsewhere/a")


@pytest.mark.usefixtures("other_clients")
def test_a_store_that_cannot_be_reached(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3.forget_clients()
    with pytest.raises(DataError, match=r"s3://b/a: the store cannot be reached.*127\.0\.0\.1:9"):
        storage.read_bytes("s3://b/a")


@pytest.mark.usefixtures("other_clients")
def test_no_credentials(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3.forget_clients()
    with pytest.raises(ConfigError, match=r"s3://photographs/a: access is refused.*AWS_ACCESS_KEY"):
        storage.read_bytes(f"{s3_bucket}/a")


@pytest.mark.usefixtures("other_clients")
def test_a_profile_that_is_not_there(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    s3.forget_clients()
    with pytest.raises(ConfigError, match=r"access is refused.*nobody.*AWS_PROFILE"):
        storage.read_bytes(f"{s3_bucket}/a")


@pytest.fixture
def refusing() -> Iterator[list[int]]:
    """An S3 server that gives each status of the list once, then the last for ever."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            codes = {403: "AccessDenied", 503: "SlowDown", 500: "InternalError"}
            body = (
                b"picture"
                if status == 200
                else f"<Error><Code>{codes[status]}</Code><Message>no</Message></Error>".encode()
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment(f"http://127.0.0.1:{server.server_port}").items():
            patch.setenv(name, value)
        patch.setenv("AWS_MAX_ATTEMPTS", "3")
        s3.forget_clients()
        yield statuses
        s3.forget_clients()
    server.shutdown()
    server.server_close()


def test_denied(refusing: list[int]) -> None:
    refusing[:] = [403]
    with pytest.raises(ConfigError, match=r"s3://b/a: access is refused.*may list the bucket"):
        storage.read_bytes("s3://b/a")


def test_failures_that_pass_are_tried_again(refusing: list[int]) -> None:
    refusing[:] = [500, 503, 200]
    assert storage.read_bytes("s3://b/a") == b"picture"
    assert refusing == [200]


def test_unknown_stores_and_bad_names() -> None:
    with pytest.raises(ConfigError, match=r"no store is known for ftp://; known are s3://"):
        storage.read_bytes("ftp://host/a")
    with pytest.raises(ConfigError, match="no store is known for odd"):
        storage.list_files("odd://host/a")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # fsspec puts a mapping of the same name before its own module.
    known = importlib.import_module("fsspec.registry")._registry
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for name in ("s3", "s3a"):
        monkeypatch.delitem(known, name, raising=False)
    with pytest.raises(ConfigError, match=r's3://b/a needs the package s3fs.*"roadwork\[data\]"'):
        storage.read_bytes("s3://b/a")


def test_reading_local_files_needs_no_fsspec(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    script = (
        "import sys\n"
        "from roadwork.data.storage import list_files, read_bytes\n"
        "read_bytes(list_files(sys.argv[1])[0].uri)\n"
        "assert 'fsspec' not in sys.modules and 'pyarrow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)
