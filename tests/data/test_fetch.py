"""Fetching, against a local server that imitates the Hub and figshare, and misbehaves."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import stat
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from roadwork.data.fetch import (
    PUBLISHED,
    Client,
    check_vistas,
    fetch,
    plan_fetch,
    require_online,
)
from roadwork.data.fetch.archives import unpack
from roadwork.data.fetch.download import download
from roadwork.data.fetch.remote import Checksum, RemoteFile
from roadwork.data.licences import LICENCES
from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.formats.cmu_roadwork import write_cmu_roadwork
from roadwork.data.scenes.formats.natix import write_natix
from roadwork.data.sources.base import SOURCES, open_sources
from roadwork.errors import ConfigError, DataError
from roadwork.settings import parse_settings

BLOB = bytes(range(256)) * 2000  # 512,000 bytes
COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Place:
    """What the server serves, how it misbehaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    cut_after: int | None = None
    cuts: int = 0
    statuses: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"one"'
    listed: dict[str, Any] = field(default_factory=dict)
    redirect: dict[str, str] = field(default_factory=dict)

    def count(self, path: str) -> int:
        return Counter(name for name, _ in self.asked)[path]


class Handler(BaseHTTPRequestHandler):
    place: Place

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        place = self.place
        path = self.path
        place.asked.append((path, dict(self.headers.items())))
        if place.statuses.get(path):
            code, headers = place.statuses[path].pop(0)
            self.answer(code, b"", headers)
        elif path in place.redirect:
            self.answer(302, b"", {"Location": place.redirect[path]})
        elif path in place.listed:
            body = json.dumps(place.listed[path]).encode()
            cut = place.cuts > 0 and place.cut_after is not None
            place.cuts -= int(cut)
            self.answer(200, body[: place.cut_after] if cut else body, {}, len(body))
            self.close_connection = cut
        elif path in place.files:
            self.serve(place.files[path])
        else:
            self.answer(404, b"", {})

    def serve(self, data: bytes) -> None:
        place = self.place
        start = 0
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if place.ranges and wanted and (condition is None or condition == place.etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.answer(416, b"", {})
                return
        headers = {"ETag": place.etag} if place.etag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start:]
        if place.cut_after is not None and place.cuts > 0 and len(rest) > place.cut_after:
            place.cuts -= 1
            self.answer(206 if start else 200, rest[: place.cut_after], headers, len(rest))
            self.close_connection = True
        else:
            self.answer(206 if start else 200, rest, headers)

    def answer(
        self, code: int, body: bytes, headers: dict[str, str], length: int | None = None
    ) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Place]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start() -> Place:
        place = Place()
        handler = type("Bound", (Handler,), {"place": place})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        place.url = f"http://127.0.0.1:{server.server_address[1]}"
        return place

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def place(serve: Callable[[], Place]) -> Place:
    return serve()


@dataclass
class Patience:
    """A client that waits for nothing and remembers how long it would have."""

    waited: list[float] = field(default_factory=list)

    def client(self, token: str | None = None) -> Client:
        return Client(token=token, attempts=3, timeout=5, pause=self.waited.append)


@pytest.fixture
def patience() -> Patience:
    return Patience()


def sha256(data: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).hexdigest())


def blob(place: Place, data: bytes = BLOB, digest: bytes | None = None) -> RemoteFile:
    place.files["/blob"] = data
    return RemoteFile("folder/blob.bin", len(data), f"{place.url}/blob", sha256(digest or data))


def hub(place: Place, files: dict[str, bytes]) -> None:
    """The Hub's answer for a data set, in the form that ``huggingface_hub`` reads."""
    siblings = []
    for name, data in files.items():
        entry: dict[str, Any] = {"rfilename": name, "size": len(data)}
        entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if name.endswith(".parquet"):
            entry["lfs"] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": len(data),
                "pointerSize": 134,
            }
        siblings.append(entry)
        url = f"/datasets/natix-network-org/roadwork/resolve/{COMMIT}/{name}"
        place.files[url] = data
    place.listed["/api/datasets/natix-network-org/roadwork?blobs=true"] = {
        "id": "natix-network-org/roadwork",
        "sha": COMMIT,
        "siblings": siblings,
    }


NATIX = {
    "data/train-00000-of-00002.parquet": b"one",
    "data/train-00001-of-00002.parquet": b"two" * 100,
    "data/test-00000-of-00001.parquet": b"three",
    "README.md": b"# card",
    "extra/other.bin": b"not asked for",
}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def figshare(place: Place, files: dict[str, bytes], page_size: int = 100) -> None:
    entries = []
    for number, (name, data) in enumerate(files.items()):
        place.files[f"/files/{number}"] = data
        entries.append(
            {
                "id": number,
                "name": name,
                "size": len(data),
                "is_link_only": False,
                "download_url": f"{place.url}/files/{number}",
                "supplied_md5": hashlib.md5(data).hexdigest(),
                "computed_md5": hashlib.md5(data).hexdigest(),
                "mimetype": "application/zip",
            }
        )
    for page in range(1, len(entries) // page_size + 2):
        url = f"/articles/26093197/files?page={page}&page_size={page_size}"
        place.listed[url] = entries[(page - 1) * page_size : page * page_size]


def ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


# -- one file


def test_download_and_second_call_asks_nothing(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    seen: list[tuple[int, int]] = []
    file = blob(place)
    path = download(file, tmp_path, patience.client(), lambda *now: seen.append(now))
    assert path == tmp_path / "folder" / "blob.bin"
    assert path.read_bytes() == BLOB
    assert seen[-1] == (len(BLOB), len(BLOB))
    assert sorted(each.name for each in path.parent.iterdir()) == ["blob.bin"]
    assert download(file, tmp_path, patience.client(), ignore) == path
    assert place.count("/blob") == 1


def test_a_cut_connection_is_taken_up_where_it_broke(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    place.cut_after, place.cuts = 100_000, 4  # more cuts than attempts: each brings bytes
    path = download(blob(place), tmp_path, patience.client(), ignore)
    assert path.read_bytes() == BLOB
    ranges = [headers.get("Range") for _, headers in place.asked]
    assert ranges == [None, *(f"bytes={n}00000-" for n in (1, 2, 3, 4))]
    assert {headers.get("If-Range") for _, headers in place.asked[1:]} == {'"one"'}
    assert len(patience.waited) == 4


def test_a_later_call_goes_on(place: Place, tmp_path: Path, patience: Patience) -> None:
    place.cut_after, place.cuts = 200_000, 1
    file = blob(place)
    impatient = Client(attempts=1, timeout=5, pause=patience.waited.append)
    original = Client.wait

    class Stop(Exception):
        pass

    def killed(*_: object) -> None:
        raise Stop

    Client.wait = killed  # as if the process had ended
    try:
        with pytest.raises(Stop):
            download(file, tmp_path, impatient, ignore)
    finally:
        Client.wait = original
    assert (tmp_path / "folder" / "blob.bin.part").stat().st_size == 200_000
    assert not (tmp_path / "folder" / "blob.bin").exists()
    assert download(file, tmp_path, impatient, ignore).read_bytes() == BLOB
    assert place.asked[-1][1]["Range"] == "bytes=200000-"


def test_a_changed_file_is_begun_anew(place: Place, tmp_path: Path, patience: Patience) -> None:
    file = blob(place)
    part = tmp_path / "folder" / "blob.bin.part"
    part.parent.mkdir()
    part.write_bytes(b"old" * 1000)
    part.with_name("blob.bin.part.etag").write_text('"zero"')
    assert download(file, tmp_path, patience.client(), ignore).read_bytes() == BLOB
    assert place.asked[0][1]["If-Range"] == '"zero"'
    assert len(place.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_without_an_etag_the_checksum_finds_an_old_beginning(
    place: Place, tmp_path: Path, patience: Patience, ranges: bool
) -> None:
    place.etag, place.ranges = None, ranges
    file = blob(place)
    part = tmp_path / "folder" / "blob.bin.part"
    part.parent.mkdir()
    part.write_bytes(b"old" * 1000)
    assert download(file, tmp_path, patience.client(), ignore).read_bytes() == BLOB
    assert place.count("/blob") == (2 if ranges else 1)


def test_wrong_bytes_are_never_kept_under_the_name(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    file = blob(place, digest=b"something else")
    with pytest.raises(DataError, match=r"folder/blob\.bin: the sha256 of what was downloaded"):
        download(file, tmp_path, patience.client(), ignore)
    assert sorted(each.name for each in (tmp_path / "folder").iterdir()) == ["blob.bin.bad"]


def test_a_longer_file_than_listed_is_refused(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    file = blob(place)
    place.files["/blob"] = BLOB + b"more"
    with pytest.raises(DataError, match="sends more than the 512000 bytes that it lists"):
        download(file, tmp_path, patience.client(), ignore)


def test_a_shorter_file_than_listed_gives_up(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    file = blob(place)
    place.files["/blob"] = BLOB[:1000]
    with pytest.raises(DataError, match="3 times without another byte; 1000 of 512000"):
        download(file, tmp_path, patience.client(), ignore)


def test_another_file_of_that_name_is_left_alone(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    mine = tmp_path / "folder" / "blob.bin"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match="is there and is not the published file"):
        download(blob(place), tmp_path, patience.client(), ignore)
    assert mine.read_bytes() == b"mine"


def test_an_empty_file(place: Place, tmp_path: Path, patience: Patience) -> None:
    path = download(blob(place, b""), tmp_path, patience.client(), ignore)
    assert path.read_bytes() == b""


def test_two_processes_do_not_write_one_file(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    import fcntl

    part = tmp_path / "folder" / "blob.bin.part"
    part.parent.mkdir()
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is writing"):
            download(blob(place), tmp_path, patience.client(), ignore)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a\\..\\x"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="outside of the folder"):
        RemoteFile(name, 1, "http://127.0.0.1/x", sha256(b""))


def test_git_blob_checksum_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    # `printf 'hello\n' | git hash-object --stdin`
    assert Checksum("git-blob", "").of(path) == "ce013625030ba8dba906f756967f9e9ca394464a"


# -- servers in a bad mood


def test_busy_servers_are_asked_again(place: Place, tmp_path: Path, patience: Patience) -> None:
    place.statuses["/blob"] = [(429, {"Retry-After": "7"}), (503, {})]
    path = download(blob(place), tmp_path, patience.client(), ignore)
    assert path.read_bytes() == BLOB
    assert patience.waited[0] == 7
    assert 1 <= patience.waited[1] <= 2  # 2 ** 1, times at least a half


def test_retry_after_may_be_a_date(place: Place, tmp_path: Path, patience: Patience) -> None:
    import time

    place.statuses["/blob"] = [(429, {"Retry-After": formatdate(time.time() + 60, usegmt=True)})]
    download(blob(place), tmp_path, patience.client(), ignore)
    assert 50 <= patience.waited[0] <= 60


def test_a_busy_server_is_given_up_in_the_end(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    file = blob(place)
    place.statuses["/blob"] = [(503, {})] * 9
    with pytest.raises(DataError, match=r"in 3 attempts: it answers 503 .* goes on where it"):
        download(file, tmp_path, patience.client(), ignore)
    assert len(patience.waited) == 2


def test_nobody_there(tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    file = RemoteFile("x", 1, "http://127.0.0.1:1/x", sha256(b"x"))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1 could not be asked .* Connection refused"):
        download(file, tmp_path, patience.client(), ignore)


@pytest.mark.parametrize(("code", "token"), [(401, None), (403, "secret")])
def test_gated_data_say_what_to_do(
    place: Place, patience: Patience, code: int, token: str | None
) -> None:
    url = "/api/datasets/natix-network-org/roadwork?blobs=true"
    place.statuses[url] = [(code, {"X-Error-Message": "Access is restricted"})]
    with pytest.raises(DataError) as caught:
        plan_fetch("natix", base_url=place.url, client=patience.client(token))
    said = str(caught.value)
    assert "set HF_TOKEN to it" in said and "Access is restricted" in said
    assert ("no token was sent" in said) == (token is None)
    assert "secret" not in said
    assert patience.waited == []


def test_the_token_goes_to_the_place_alone(
    serve: Callable[[], Place], tmp_path: Path, patience: Patience
) -> None:
    place, elsewhere = serve(), serve()
    elsewhere.files["/stored"] = BLOB
    place.redirect["/blob"] = f"{elsewhere.url}/stored"
    file = RemoteFile("x", len(BLOB), f"{place.url}/blob", sha256(BLOB))
    download(file, tmp_path, patience.client("secret"), ignore)
    assert place.asked[0][1]["Authorization"] == "Bearer secret"
    assert "Authorization" not in elsewhere.asked[0][1]


def test_no_redirect_from_encrypted_to_plain() -> None:
    import urllib.request

    from roadwork.data.fetch.http import _Redirects

    request = urllib.request.Request("https://example.org/x")
    with pytest.raises(DataError, match="not encrypted"):
        _Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/x")


# -- listings


def test_the_hub(place: Place, tmp_path: Path, patience: Patience) -> None:
    hub(place, NATIX)
    plan = plan_fetch("natix", base_url=place.url, client=patience.client())
    assert plan.parts == ("train", "test")
    assert [file.name for file in plan.files] == sorted(set(NATIX) - {"extra/other.bin"})
    assert plan.size == sum(len(data) for name, data in NATIX.items() if "extra" not in name)
    got = fetch(plan, tmp_path, client=patience.client())
    assert {path.relative_to(tmp_path).as_posix() for path in got.files} == {
        file.name for file in plan.files
    }
    assert all(
        (tmp_path / name).read_bytes() == NATIX[name] for name in NATIX if "extra" not in name
    )
    only = plan_fetch("natix", ["test"], base_url=place.url, client=patience.client())
    assert [file.name for file in only.files] == ["README.md", "data/test-00000-of-00001.parquet"]


def test_our_imitation_of_the_hub_is_read_by_its_own_library(place: Place) -> None:
    hub_api = pytest.importorskip("huggingface_hub")
    hub(place, NATIX)
    place.listed["/api/datasets/natix-network-org/roadwork?blobs=True"] = place.listed[
        "/api/datasets/natix-network-org/roadwork?blobs=true"
    ]
    info = hub_api.HfApi(endpoint=place.url, token=False).dataset_info(
        "natix-network-org/roadwork", files_metadata=True
    )
    theirs = {each.rfilename: each for each in info.siblings}
    ours = PUBLISHED["natix"].list_files(Client(), place.url)
    assert {file.name for file in ours} == set(theirs)
    for file in ours:
        sibling = theirs[file.name]
        wanted = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        assert (file.size, file.checksum.digest) == (sibling.size, wanted)
        assert file.url == hub_api.hf_hub_url(
            "natix-network-org/roadwork",
            file.name,
            repo_type="dataset",
            revision=info.sha,
            endpoint=place.url,
        )


ROADWORK = {
    "images.zip": {"images/pgh01_0001.jpg": b"jpeg one", "images/pgh01_0002.jpg": b"jpeg two"},
    "annotations.zip": {
        "instances_train_gps_split.json": b"{}",
        "__MACOSX/._instances_train_gps_split.json": b"rubbish",
    },
    "sem_seg_labels.zip": {"gtFine/train/pgh01_0001_labelIds.png": b"png"},
}


def test_figshare(place: Place, tmp_path: Path, patience: Patience) -> None:
    files = {name: zipped(members) for name, members in ROADWORK.items()}
    files["videos_compressed.z00"] = b"piece"
    files["videos_compressed.zip"] = b"last piece"
    figshare(place, files)
    place.cut_after, place.cuts = 50, 2  # the listing, and one archive
    plan = plan_fetch("cmu_roadwork", base_url=place.url, client=patience.client())
    assert [file.name for file in plan.files] == ["annotations.zip", "images.zip"]
    got = fetch(plan, tmp_path, client=patience.client())
    assert got.unpacked == {"annotations.zip": 1, "images.zip": 2}
    assert (tmp_path / "scene/images/pgh01_0001.jpg").read_bytes() == b"jpeg one"
    assert (tmp_path / "scene/annotations/instances_train_gps_split.json").read_bytes() == b"{}"
    assert not list(tmp_path.rglob("__MACOSX"))
    changed = tmp_path / "scene/images/pgh01_0001.jpg"
    before = changed.stat().st_mtime_ns
    assert fetch(plan, tmp_path, client=patience.client()) == got
    assert changed.stat().st_mtime_ns == before

    more = plan_fetch(
        "cmu_roadwork", ["sem_seg", "videos"], base_url=place.url, client=patience.client()
    )
    got = fetch(more, tmp_path, client=patience.client())
    assert (tmp_path / "scene/sem_seg/gtFine/train/pgh01_0001_labelIds.png").is_file()
    assert [path.name for path in got.to_join] == [
        "videos_compressed.z00",
        "videos_compressed.zip",
    ]


def test_a_long_article_is_read_page_by_page(place: Place, patience: Patience) -> None:
    figshare(place, {f"file-{number:03d}.txt": b"x" for number in range(203)})
    listed = PUBLISHED["cmu_roadwork"].list_files(patience.client(), place.url)
    assert len(listed) == 203


def test_listings_of_another_form_are_named(place: Place, patience: Patience) -> None:
    place.listed["/api/datasets/natix-network-org/roadwork?blobs=true"] = {"files": []}
    with pytest.raises(DataError, match="another form than we know"):
        plan_fetch("natix", base_url=place.url, client=patience.client())
    place.listed["/articles/26093197/files?page=1&page_size=100"] = [{"name": "images.zip"}]
    with pytest.raises(DataError, match="another form than we know"):
        plan_fetch("cmu_roadwork", base_url=place.url, client=patience.client())
    place.files["/articles/26093197/files?page=1&page_size=100"] = b"<html>"
    place.listed.clear()
    with pytest.raises(DataError, match="did not answer with JSON but with: b'<html>'"):
        plan_fetch("cmu_roadwork", base_url=place.url, client=patience.client())


def test_a_listing_that_breaks_off_is_asked_again(place: Place, patience: Patience) -> None:
    hub(place, NATIX)
    place.cut_after, place.cuts = 20, 2
    assert plan_fetch("natix", base_url=place.url, client=patience.client()).size > 0
    assert len(patience.waited) == 2
    place.cuts = 9
    with pytest.raises(DataError, match="broke off 3 times"):
        plan_fetch("natix", base_url=place.url, client=patience.client())


def test_parts_that_are_not_there(place: Place, patience: Patience) -> None:
    hub(place, {"README.md": b""})
    with pytest.raises(ConfigError, match="natix has no part 'valid'; its parts: train, test"):
        plan_fetch("natix", ["valid"], base_url=place.url, client=patience.client())
    with pytest.raises(DataError, match=r"lists no file of the part 'train' .* lists: README.md"):
        plan_fetch("natix", base_url=place.url, client=patience.client())
    with pytest.raises(ConfigError, match="mapillary cannot be downloaded by a program"):
        plan_fetch("mapillary", client=patience.client())


def test_a_full_disk_is_seen_before(
    place: Place, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(place, NATIX)
    plan = plan_fetch("natix", base_url=place.url, client=patience.client())
    usage = shutil.disk_usage(tmp_path)._replace(free=(1 << 28) + plan.size - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"GB free and 0\.0 GB are needed"):
        fetch(plan, tmp_path / "new" / "folder", client=patience.client())
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=usage.free + 1))
    fetch(plan, tmp_path / "new" / "folder", client=patience.client())


def test_what_is_fetched_is_read_by_the_sources(
    place: Place, tmp_path: Path, patience: Patience
) -> None:
    settings = SceneSettings(seed=1, drives=16, frames=(1, 2), width=96, height=64)
    made = {"natix": tmp_path / "natix", "cmu_roadwork": tmp_path / "roadwork"}
    plans = {
        "natix": write_natix(made["natix"], settings),
        "cmu_roadwork": write_cmu_roadwork(made["cmu_roadwork"], settings),
    }
    files = {
        path.relative_to(made["natix"]).as_posix(): path.read_bytes()
        for path in made["natix"].rglob("*.parquet")
    }
    hub(place, files)
    scene = made["cmu_roadwork"] / "scene"
    archives = {
        f"{folder}.zip": zipped(
            {
                path.relative_to(scene).as_posix(): path.read_bytes()
                for path in sorted((scene / folder).rglob("*"))
                if path.is_file()
            }
        )
        for folder in ("images", "annotations")
    }
    figshare(place, archives)
    for kind, plan in plans.items():
        wanted = plan_fetch(kind, base_url=place.url, client=patience.client())
        fetch(wanted, tmp_path / "fetched" / kind, client=patience.client())
        tree = {"data": {"sources": [{"kind": kind, "root": str(tmp_path / "fetched" / kind)}]}}
        (source,) = open_sources(parse_settings(tree))
        read = {row.file: row.label for row in source.rows() if row.verdict is None}
        assert read == {row.file: row.label for row in plan.rows if row.left_out is None}
        assert len(read) >= 4


# -- archives


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "images/../../out.txt", "a\\..\\out"])
def test_archives_do_not_write_outside(tmp_path: Path, name: str) -> None:
    path = tmp_path / "images.zip"
    path.write_bytes(zipped({"images/good.jpg": b"good", name: b"bad"}))
    with pytest.raises(DataError, match="nothing was unpacked"):
        unpack(path, tmp_path / "in" / "scene" / "images", ignore)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["images.zip"]


def test_archives_hold_no_links(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("images/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
    with pytest.raises(DataError, match="or is a link"):
        unpack(path, tmp_path / "images", ignore)


@pytest.mark.parametrize("wrapping", ["", "images/", "scene/images/", "images/images/"])
def test_the_layout_does_not_depend_on_wrapping_folders(tmp_path: Path, wrapping: str) -> None:
    path = tmp_path / "images.zip"
    path.write_bytes(zipped({f"{wrapping}a/1.jpg": b"1", f"{wrapping}2.jpg": b"2"}))
    assert unpack(path, tmp_path / "scene" / "images", ignore) == 2
    found = {each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*.jpg")}
    assert found == {"scene/images/a/1.jpg", "scene/images/2.jpg"}


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    whole = zipped({"a.jpg": bytes(range(256)) * 50})
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"images\.zip cannot be unpacked: .* zip -s 0 images\.zip"):
        unpack(path, tmp_path / "images", ignore)
    changed = bytearray(whole)
    changed[60] ^= 0xFF
    path.write_bytes(bytes(changed))
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(path, tmp_path / "images", ignore)
    assert not list((tmp_path / "images").glob("*.jpg"))


# -- what is not downloaded


def test_vistas_folder(tmp_path: Path) -> None:
    empty = check_vistas(tmp_path)
    assert "config_v2.0.json is missing" in empty.complaints[0]
    assert empty.complaints[1:] == (
        "training/images has no .jpg",
        "validation/images has no .jpg",
    )
    (tmp_path / "config_v1.2.json").write_text("{}")
    assert "v1.2 alone will not do" in check_vistas(tmp_path).complaints[0]
    (tmp_path / "config_v2.0.json").write_text("{}")
    for part in ("training", "validation"):
        for folder, suffix in (
            ("images", ".jpg"),
            ("v2.0/labels", ".png"),
            ("v2.0/instances", ".png"),
        ):
            (tmp_path / part / folder).mkdir(parents=True)
            for name in ("a", "b"):
                (tmp_path / part / folder / f"{name}{suffix}").write_bytes(b"")
    whole = check_vistas(tmp_path)
    assert (whole.images, whole.complaints) == ({"training": 2, "validation": 2}, ())
    assert whole.remarks[0] == "training has 2 images; 18000 were published"
    (tmp_path / "training/v2.0/instances/b.png").unlink()
    assert check_vistas(tmp_path).complaints == (
        "training/v2.0/instances lacks 1 of 2 pictures (b.png)",
    )


def test_offline_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="give --online"):
        require_online(False)
    require_online(True)
    monkeypatch.setenv("ROADWORK_OFFLINE", "false")
    require_online(False)


def test_every_source_has_its_licence_and_only_official_hosts() -> None:
    assert set(LICENCES) == set(SOURCES)
    assert {name: info.licence for name, info in SOURCES.items()} == {
        name: licence.name for name, licence in LICENCES.items()
    }
    hosts = {re.sub(r"^https://([^/]+).*", r"\1", each.base_url) for each in PUBLISHED.values()}
    assert hosts == {"huggingface.co", "api.figshare.com"}
