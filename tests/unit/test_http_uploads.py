"""Uploads without a web server before them: what is taken, refused and kept on disk, and the protocol tus."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.rsgi import Headers, Protocol, Scope

from server.tokens.token_file import TokenFile
from server.uploads.folder import Begun, Result, Upload, UploadBusy, UploadFolder
from server.uploads.receiving import Receiver, UploadLimits
from server.web.access import Access
from server.web.app import App
from server.web.uploads import Uploads

CSV = b"x,label\n1,true\n2,false\n"
TUS = {"tus-resumable": "1.0.0"}
PART = {**TUS, "content-type": "application/offset+octet-stream"}


class Site:
    """The endpoints on a folder of uploads."""

    def __init__(self, path: Path, limits: UploadLimits | None = None, access: Access | None = None) -> None:
        self.folder = UploadFolder(path)
        self.receiver = Receiver(self.folder, limits or UploadLimits())
        self.draining = False
        uploads = Uploads(self.receiver, lambda: self.draining)
        self.app = App({}, access=access, streamed=uploads.routes())

    def ask(self, method: str, target: str, *pieces: bytes, **headers: str) -> Protocol:
        return asyncio.run(self.asked(method, target, *pieces, **headers))

    async def asked(self, method: str, target: str, *pieces: bytes, **headers: str) -> Protocol:
        path, _, query = target.partition("?")
        given = {"host": "localhost", "content-length": str(sum(map(len, pieces)))}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        given = {name: value for name, value in given.items() if value}
        protocol = Protocol(list(pieces))
        await self.app.__rsgi__(Scope(method, path, Headers(given), query), protocol)
        return protocol

    def send(self, *pieces: bytes, query: str = "wait=0s", **headers: str) -> Protocol:
        return self.ask("POST", f"/v1/uploads?{query}", *pieces, **headers)

    def waiting(self) -> list[Upload]:
        return self.folder.waiting()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "uploads")
    yield site
    site.receiver.close()


def limited(site: Site, **limits: int) -> Site:
    return Site(site.folder.path, UploadLimits(**limits))


def test_a_token_needs_the_scope_upload_and_its_name_is_noted(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens")
    mine, _ = file.create("batch", ["upload"], "ann")
    other, _ = file.create("web", ["predict"], "ann")
    site = Site(tmp_path / "uploads", access=Access(file))
    for method, path, status in (
        ("POST", "/v1/uploads", 403),
        ("PATCH", "/v1/uploads/x", 403),
        ("PUT", "/v1/uploads", 405),
    ):
        nobody = site.ask(method, path, CSV)
        wrong = site.ask(method, path, CSV, authorization=f"Bearer {other}")
        assert (nobody.status, wrong.status) == (401, status)
        assert not nobody.body_read
        assert not wrong.body_read
    authorization = f"Bearer {mine}"
    assert site.ask("PUT", "/v1/uploads", authorization=authorization).status == 405
    assert site.send(CSV, authorization=authorization).status == 202
    part = {"tus_resumable": "1.0.0", "upload_length": "10"}
    begun = site.ask("POST", "/v1/uploads", **part, authorization=authorization)
    assert begun.status == 201
    assert [upload.meta().by for upload in site.waiting()] == ["batch"]
    assert site.folder.partial(begun.headers["location"].rpartition("/")[2]).meta().by == "batch"
    assert site.app.counts.requests["/v1/uploads", 401] == 2
    site.receiver.close()


def test_a_whole_upload_is_on_disk_for_its_owner_alone_before_it_is_answered(site: Site) -> None:
    answer = site.send(CSV[:5], CSV[5:], query="wait=0s&name=dir/h.csv&strict")
    assert answer.status == 202
    [upload] = site.waiting()
    assert answer.headers["location"] == f"/v1/uploads/{upload.id}"
    assert (answer.json["id"], answer.json["state"], answer.json["bytes"]) == (upload.id, "waiting", len(CSV))
    assert upload.data.read_bytes() == CSV
    meta = upload.meta()
    assert (meta.name, meta.suffix, meta.strict) == ("h.csv", ".csv", True)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (upload.path, *upload.path.iterdir())}
    assert modes == {upload.id: "0o700", "data": "0o600", "meta.json": "0o600"}


def test_the_request_waits_for_the_importer_and_a_worker_that_ends_lets_it_go(site: Site) -> None:
    async def both() -> Protocol:
        asking = asyncio.create_task(site.asked("POST", "/v1/uploads?wait=20s", CSV))
        while not (waiting := site.waiting()):
            await asyncio.sleep(0.01)
        site.folder.finish(waiting[0], Result(waiting[0].id, "imported", taken=2))
        return await asking

    answer = asyncio.run(both())
    assert (answer.status, answer.json["taken"], answer.json["refused"]) == (200, 2, 0)
    assert "error" not in answer.json
    again = site.ask("GET", answer.headers["location"])
    assert (again.status, again.json) == (200, answer.json)
    site.draining = True
    began = time.monotonic()
    assert site.send(CSV, query="wait=20s").status == 202
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("name=h.exe", {}, 415, "format"),
        ("", {"content_type": "text/html"}, 415, "format"),
        ("", {"content_type": "multipart/form-data; boundary=x"}, 415, "format"),
        ("nam=h.csv", {}, 400, "query"),
        ("wait=long", {}, 400, "query"),
        ("strict=perhaps", {}, 400, "query"),
        ("name=" + 300 * "h", {}, 400, "name"),
        ("name=h%0A.csv", {}, 400, "name"),
    ],
)
def test_what_is_asked_wrongly_leaves_nothing(
    site: Site, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = site.send(CSV, query=query, **headers)
    assert (answer.status, answer.code) == (status, code)
    assert site.folder.count() == 0


def test_an_empty_or_cut_or_too_large_upload_leaves_nothing(site: Site) -> None:
    assert site.send().code == "empty"
    assert site.send(CSV, content_length="100").code == "cut"
    # The web server yields an empty piece at the end of each body, and one more where the connection broke.
    assert site.send(CSV, b"", b"", content_length="", transfer_encoding="chunked").code == "cut"
    small = limited(site, largest=10)
    assert small.send(CSV).status == 413
    assert small.send(CSV, content_length="", transfer_encoding="chunked").status == 413
    assert site.folder.count() == 0
    assert site.send(CSV, b"", content_length="", transfer_encoding="chunked").status == 202


def test_the_folder_has_a_limit(site: Site) -> None:
    full = limited(site, largest=100, most_bytes=40)
    assert full.send(CSV).status == 202
    assert full.send(CSV).status == 202
    refused = full.send(CSV)
    assert (refused.status, refused.code) == (507, "uploads-full")
    assert "does an importer run?" in refused.json["error"]["message"]
    assert limited(site, waiting=2).send(CSV).status == 507


def test_a_full_or_failing_disk_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(number: int) -> Any:
        def write(_descriptor: int, _data: object) -> int:
            raise OSError(number, os.strerror(number))

        return write

    for number, status, code in ((28, 507, "uploads-full"), (5, 503, "uploads-failed")):
        with monkeypatch.context() as patched:
            patched.setattr("server.uploads.receiving.os.write", refusing(number))
            answer = site.send(CSV)
        assert (answer.status, answer.code) == (status, code)
        assert os.strerror(number) in answer.json["error"]["message"]
    assert site.folder.count() == 0


def test_methods_and_names_that_are_none(site: Site) -> None:
    assert site.ask("PUT", "/v1/uploads").status == 405
    assert site.ask("POST", "/v1/uploads/1").status == 405
    for name in ("1", "..", "%2e%2e", "1795948944057-9e1d22f4049858ee", "x" * 300):
        for method in ("GET", "DELETE"):
            assert site.ask(method, f"/v1/uploads/{name}").status == 404
        assert site.ask("HEAD", f"/v1/uploads/{name}", **TUS).status == 404
        assert site.ask("PATCH", f"/v1/uploads/{name}", b"x", upload_offset="0", **PART).status == 404
    assert site.ask("GET", "/v1/uploads/a/b").status == 404


# --- tus ---------------------------------------------------------------------------------------------


def begun(site: Site, length: int = len(CSV), **headers: str) -> str:
    made = site.ask("POST", "/v1/uploads", upload_length=str(length), **TUS, **headers)
    assert made.status == 201, made.answer
    return made.headers["location"]


def offset(site: Site, place: str) -> str:
    return site.ask("HEAD", place, **TUS).headers["upload-offset"]


def patch(site: Site, place: str, at: int, part: bytes, **headers: str) -> Protocol:
    return site.ask("PATCH", place, part, upload_offset=str(at), **PART, **headers)


def test_parts_make_one_upload(site: Site) -> None:
    told = {"filename": "dir/h.tsv", "strict": "true"}
    described = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items())
    place = begun(site, upload_metadata=described)
    assert patch(site, place, 0, CSV[:4]).headers["upload-offset"] == "4"
    assert patch(site, place, 0, CSV[:4]).status == 409
    assert site.ask("GET", place).json["state"] == "receiving"
    assert site.waiting() == []
    assert patch(site, place, 4, CSV[4:]).status == 204
    [upload] = site.waiting()
    assert upload.data.read_bytes() == CSV
    assert (upload.meta().name, upload.meta().suffix, upload.meta().strict) == ("h.tsv", ".tsv", True)
    head = site.ask("HEAD", place, **TUS)
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == (str(len(CSV)),) * 2
    assert head.headers["upload-metadata"] == described
    assert patch(site, place, len(CSV), b"more").status == 409
    assert site.ask("DELETE", place, **TUS).status == 409


def test_a_part_that_is_cut_off_stays_and_one_with_another_checksum_does_not(site: Site) -> None:
    place = begun(site)
    assert patch(site, place, 0, CSV[:4], content_length="9").code == "cut"
    assert offset(site, place) == "4"
    right, wrong = (base64.b64encode(hashlib.sha1(each).digest()).decode() for each in (CSV[4:9], b"other"))  # noqa: S324
    assert patch(site, place, 4, CSV[4:9], upload_checksum=f"sha1 {wrong}").status == 460
    assert offset(site, place) == "4"
    assert patch(site, place, 4, CSV[4:9], upload_checksum="crc 12").status == 400
    assert patch(site, place, 4, CSV[4:9], upload_checksum=f"sha1 {right}").status == 204
    assert offset(site, place) == "9"


def test_one_that_was_whole_when_its_server_was_killed_is_handed_over_when_it_is_asked_for(site: Site) -> None:
    place = begun(site)
    (site.folder.path / "partial" / place.rpartition("/")[2] / "data").write_bytes(CSV)
    assert offset(site, place) == str(len(CSV))
    assert [upload.data.read_bytes() for upload in site.waiting()] == [CSV]


def test_the_length_may_come_later_and_the_first_part_at_once(site: Site) -> None:
    deferred = site.ask("POST", "/v1/uploads", upload_defer_length="1", **TUS).headers["location"]
    assert site.ask("HEAD", deferred, **TUS).headers["upload-defer-length"] == "1"
    assert patch(site, deferred, 0, CSV[:4], upload_length=str(len(CSV))).status == 204
    made = site.ask("POST", "/v1/uploads", CSV, upload_length=str(len(CSV)), **PART)
    assert (made.status, made.headers["upload-offset"]) == (201, str(len(CSV)))
    assert len(site.waiting()) == 1
    beyond = patch(site, deferred, 4, CSV)
    assert (beyond.status, offset(site, deferred)) == (413, "4")


def test_what_tus_refuses(site: Site) -> None:
    place = begun(site)
    assert site.ask("PATCH", place, b"x", upload_offset="0").status == 412
    assert site.ask("PATCH", place, b"x", upload_offset="0", **TUS).status == 415
    assert site.ask("PATCH", place, b"x", **PART).status == 400
    assert site.ask("POST", "/v1/uploads", **TUS).status == 400
    assert site.ask("POST", "/v1/uploads", upload_length="-1", **TUS).status == 400
    assert site.ask("POST", "/v1/uploads", upload_length=str(2 << 30), **TUS).status == 413
    assert site.ask("POST", "/v1/uploads", upload_length="9", upload_metadata="filename %%", **TUS).status == 400
    told = site.ask("OPTIONS", "/v1/uploads")
    assert (told.status, told.headers["tus-version"], told.headers["tus-max-size"]) == (204, "1.0.0", str(1 << 30))
    assert "checksum" in told.headers["tus-extension"]


def test_it_can_be_deleted_also_by_clients_that_can_only_post(site: Site) -> None:
    first, second = begun(site), begun(site)
    assert site.ask("DELETE", first, **TUS).status == 204
    assert site.ask("POST", second, x_http_method_override="DELETE", **TUS).status == 204
    assert site.ask("HEAD", first, **TUS).status == 404
    assert site.folder.count() == 0


# --- the folder --------------------------------------------------------------------------------------


def test_two_requests_cannot_write_one_upload(site: Site) -> None:
    place = begun(site)
    upload = site.folder.partial(place.rpartition("/")[2])
    with site.folder.writing(upload):
        assert patch(site, place, 0, CSV).status == 423
        with pytest.raises(UploadBusy), site.folder.writing(upload):
            pass
    assert patch(site, place, 0, CSV).status == 204


def test_abandoned_and_expired_uploads_and_old_results_are_swept(site: Site) -> None:
    folder = site.folder
    resumable, whole = (folder.partial(begun(site).rpartition("/")[2]) for _ in range(2))
    whole.describe(type(whole.meta())())
    site.send(CSV)
    [waiting] = site.waiting()
    folder.finish(waiting, Result(waiting.id, "imported"))

    def age(seconds: float) -> None:
        then = time.time() - seconds
        for path in folder.path.rglob("*"):
            os.utime(path, (then, then))

    folder.sweep(86_400)
    assert folder.count() == 2, "a request may be about to begin"
    age(3_600)
    folder.sweep(86_400)
    assert [each.exists() for each in (resumable.path, whole.path)] == [True, False]
    age(90_000)
    folder.sweep(86_400)
    assert folder.count() == 0
    assert folder.state(waiting.id).state == "imported"
    age(8 * 86_400)
    folder.sweep(86_400)
    assert folder.result(waiting.id) is None


def test_what_was_in_the_log_before_is_noted_once(site: Site) -> None:
    site.send(CSV)
    [upload] = site.waiting()
    assert upload.begun(Begun(3, 1)) == Begun(3, 1)
    assert upload.begun(Begun(5, 2)) == Begun(3, 1) == upload.begun()
