"""The service over real HTTP: answers of the design, and a clear 4xx for every bad upload."""

from __future__ import annotations

import base64
import contextlib
import io
import random
import re
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from roadwork.bundle import ModelBundle
from roadwork.predictor import Predictor
from tests.bundle.make_bundle import jpeg, picture

RED = jpeg(240, 20)
MEGABYTE = 1_000_000


def png(width: int, height: int) -> bytes:
    """A black-and-white PNG of a few kilobytes, whatever its size, made without its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    deflate = zlib.compressobj(1)
    row = b"\0" * (1 + -(-width // 8))
    body = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def encoded(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(200, 30).save(buffer, kind, **options)
    return buffer.getvalue()


def upload(client: httpx.Client, data: bytes, name: str = "image") -> httpx.Response:
    return client.post("/predict", files={name: ("a.jpg", data, "image/jpeg")})


def raw(client: httpx.Client, data: Any, kind: str = "image/jpeg") -> httpx.Response:
    return client.post("/predict", content=data, headers={"Content-Type": kind})


def assert_refused(reply: httpx.Response, status: int, code: str) -> None:
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.json()["error"]["message"]) > 10
    assert set(reply.json()) == {"error"}


def test_the_answer_is_that_of_the_predictor(client: httpx.Client, bundle: ModelBundle) -> None:
    reply = upload(client, RED)
    assert reply.status_code == 200
    (expected,) = Predictor(bundle, threads=1).predict([RED])
    answer = reply.json()
    assert answer.pop("latency_ms") > 0
    assert answer == {
        "probability": pytest.approx(expected.probability, abs=1e-7),
        "label": "roadwork",
        "prediction_set": ["roadwork"],
        "coverage": 0.75,
        "defer": False,
        "stage": 1,
        "model": bundle.hash,
    }


def test_every_way_to_send_gives_the_same_answer(client: httpx.Client) -> None:
    text = base64.b64encode(RED).decode()
    replies = [
        upload(client, RED),
        raw(client, RED),
        raw(client, RED, "application/octet-stream"),
        raw(client, RED, "image/png"),  # the bytes count, not what the sender calls them
        client.post("/predict", json={"image_base64": text}),
        client.post("/predict", json={"image_base64": f"data:image/jpeg;base64,{text}"}),
    ]
    assert [reply.status_code for reply in replies] == [200] * 6
    assert len({reply.json()["probability"] for reply in replies}) == 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_formats(client: httpx.Client, kind: str) -> None:
    assert upload(client, encoded(kind)).json()["label"] == "roadwork"


def test_an_empty_upload(client: httpx.Client) -> None:
    assert_refused(upload(client, b""), 400, "empty")
    assert_refused(raw(client, b""), 400, "empty")
    assert_refused(raw(client, b"", "application/json"), 400, "empty")
    assert_refused(client.post("/predict", json={"image_base64": ""}), 400, "empty")


@pytest.mark.parametrize(
    "data", [b"hello", b"\x00" * 5000, encoded("GIF"), b"%PDF-1.7\n", b"<svg/>"]
)
def test_what_is_not_an_image(client: httpx.Client, data: bytes) -> None:
    assert_refused(upload(client, data), 415, "not_an_image")
    assert_refused(raw(client, data), 415, "not_an_image")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_an_unknown_content_type(client: httpx.Client, kind: str) -> None:
    assert_refused(raw(client, RED, kind), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "data", [RED[:-300], encoded("PNG")[:-300], RED[:200], encoded("WEBP")[:-300]]
)
def test_a_truncated_image(client: httpx.Client, data: bytes) -> None:
    assert_refused(upload(client, data), 422, "corrupt")


def test_a_tiny_image(client: httpx.Client) -> None:
    assert_refused(upload(client, png(8, 8)), 422, "too_small")


def test_the_wrong_field(client: httpx.Client) -> None:
    assert_refused(upload(client, RED, name="file"), 422, "wrong_field")
    assert "fields sent: file" in upload(client, RED, name="file").json()["error"]["message"]
    two = [("image", ("a.jpg", RED, "image/jpeg")), ("image", ("b.jpg", RED, "image/jpeg"))]
    assert_refused(client.post("/predict", files=two), 422, "wrong_field")
    text = "\r\n".join(
        ["--b", 'Content-Disposition: form-data; name="image"', "", "some text", "--b--", ""]
    )
    reply = raw(client, text.encode(), "multipart/form-data; boundary=b")
    assert_refused(reply, 422, "wrong_field")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"anything"),
        ("multipart/form-data; boundary=b", b"no boundary in here"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: nothing\r\n\r\nx\r\n--b--",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n\x00\xff: y\r\n\r\nx\r\n--b--\r\n"),
    ],
)
def test_a_form_that_cannot_be_read(client: httpx.Client, kind: str, body: bytes) -> None:
    assert_refused(raw(client, body, kind), 400, "invalid_form")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 200_000, 400, "invalid_json"),
        (b"[]", 422, "wrong_field"),
        (b"null", 422, "wrong_field"),
        (b"{}", 422, "wrong_field"),
        (b'{"image_base64": 5}', 422, "wrong_field"),
        (b'{"image_base64": "no base64!"}', 422, "invalid_base64"),
        ('{"image_base64": "ä"}'.encode(), 422, "invalid_base64"),
        (b'{"image_base64": "aGVsbG8="}', 415, "not_an_image"),
    ],
)
def test_bad_json(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    assert_refused(raw(client, body, "application/json"), status, code)


def test_too_many_bytes(client: httpx.Client) -> None:
    for size in (21, 60):
        assert_refused(upload(client, bytes(size * MEGABYTE)), 413, "too_many_bytes")
        assert_refused(raw(client, bytes(size * MEGABYTE)), 413, "too_many_bytes")
    text = base64.b64encode(bytes(21 * MEGABYTE)).decode()
    reply = client.post("/predict", json={"image_base64": text})
    assert_refused(reply, 413, "too_many_bytes")


def test_just_enough_bytes_are_read(client: httpx.Client) -> None:
    # What follows the end of a JPEG is ignored.
    padded = RED + bytes(20 * MEGABYTE - len(RED))
    assert upload(client, padded).status_code == 200
    assert raw(client, padded).status_code == 200
    assert_refused(upload(client, padded + b"\0"), 413, "too_many_bytes")


def test_an_endless_upload_is_cut_off(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2000 * MEGABYTE:
            sent += MEGABYTE
            yield bytes(MEGABYTE)

    # The server answers and hangs up; the sender may notice only the latter.
    with contextlib.suppress(httpx.TransportError):
        assert raw(client, endless()).status_code == 413
    assert sent < 200 * MEGABYTE


@pytest.mark.parametrize("size", [(8000, 7000), (12_000, 12_000), (30_000, 30_000)])
def test_too_many_pixels_cost_nothing(client: httpx.Client, size: tuple[int, int]) -> None:
    data = png(*size)
    assert len(data) < MEGABYTE
    start = time.monotonic()
    assert_refused(upload(client, data), 413, "too_many_pixels")
    assert time.monotonic() - start < 2.0


def test_a_form_of_many_parts(client: httpx.Client) -> None:
    files = [(f"f{i}", ("a.jpg", RED, "image/jpeg")) for i in range(50)]
    assert_refused(client.post("/predict", files=files), 400, "invalid_form")


def test_damaged_files_never_give_5xx(client: httpx.Client) -> None:
    rng = random.Random(0)
    sources = [RED, encoded("PNG"), encoded("WEBP"), encoded("TIFF"), encoded("BMP")]
    statuses: set[int] = set()
    for _ in range(150):
        data = bytearray(rng.choice(sources))
        for _ in range(rng.choice([1, 4, 40])):
            data[rng.randrange(len(data) if rng.random() < 0.5 else 64)] = rng.randrange(256)
        reply = raw(client, bytes(data))
        statuses.add(reply.status_code)
        assert reply.status_code in {200, 413, 415, 422}, (reply.status_code, reply.text)
    assert {200, 415, 422} <= statuses


def test_a_client_that_hangs_up(client: httpx.Client) -> None:
    for _ in range(3):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as line:
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            line.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode() + RED)
    assert upload(client, RED).status_code == 200


def test_many_at_once(client: httpx.Client) -> None:
    def ask(index: int) -> tuple[int, float]:
        return index % 3, upload(client, jpeg(60 * (index % 3) + 60, 90)).json()["probability"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(60)))
    assert len(set(answers)) == 3


def test_the_model_page(client: httpx.Client, bundle: ModelBundle) -> None:
    model = client.get("/model").json()
    assert model["model"] == bundle.hash
    assert model["guarantee"] == bundle.conformal.guarantee
    assert model["classes"] == ["none", "roadwork"]
    assert model["engine"] == "openvino"
    assert model["summary"] == "The mean colour of a photograph decides."


def test_probes_and_metrics(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert client.get(path).status_code == 200
    upload(client, RED)
    upload(client, b"hello")
    metrics = client.get("/metrics").text
    assert re.search(r'request_total\{.*endpoint="/predict".*http_response_code="200"', metrics)
    assert re.search(r'request_total\{.*endpoint="/predict".*http_response_code="415"', metrics)


def test_pages_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        reply = client.get(path)
        assert reply.status_code == 200
        assert "http://" not in reply.text
        assert "https://" not in reply.text
        for asset in re.findall(r'(?:src|href)="([^"]+)"', reply.text):
            assert client.get(f"/{asset}").status_code == 200, asset
        assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_the_description_of_the_api(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    properties = described["components"]["schemas"]["Prediction"]["properties"]
    assert set(properties) == set(upload(client, RED).json())
    assert "unless the set holds the label alone" in properties["defer"]["description"]
    assert set(described["paths"]["/predict"]["post"]["responses"]) == {
        "200",
        "400",
        "413",
        "415",
        "422",
    }
    assert "/livez" in client.get("/docs.json").json()["paths"]


def test_other_methods_and_paths(client: httpx.Client) -> None:
    assert_refused(client.get("/predict"), 405, "method_not_allowed")
    assert client.get("/nothing").status_code == 404


def test_the_log_gives_the_reason_for_the_engine_and_no_traceback(
    client: httpx.Client, log: Path
) -> None:
    upload(client, RED)
    text = log.read_text()
    assert "OpenVINO, CPU, float32 (the first that can run and agreed in parity)" in text
    assert "4 golden answers differ by at most" in text
    assert "Traceback" not in text


def test_nothing_gave_5xx(client: httpx.Client) -> None:
    assert 'http_response_code="5' not in client.get("/metrics").text


def test_a_picture_of_50_megapixels_is_answered(client: httpx.Client) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8000, 6000), 128).save(buffer, "JPEG")
    assert upload(client, buffer.getvalue()).status_code == 200
