"""Resumable uploads: the protocol tus 1.0.0, with creation, termination, expiration and checksum."""

from __future__ import annotations

import base64
import binascii
import hmac
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import msgspec

from server.uploads.file_checks import file_name, suffix_of
from server.uploads.folder import Meta, NoSuchUpload, Result, Upload
from server.uploads.receiving import CHECKSUMS, TooLarge, digest_named
from server.web.messages import Headers, HttpError, Response

if TYPE_CHECKING:
    from hashlib import _Hash

    from server.uploads.receiving import Receiver
    from server.web.streamed import StreamedRequest

TUS_HEADER: Final = "tus-resumable"
_VERSION: Final = "1.0.0"
_TUS: Final = (TUS_HEADER, _VERSION)
_PART: Final = "application/offset+octet-stream"
_EXTENSIONS: Final = "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum"
_MISMATCH: Final = 460  # of tus itself
_LONGEST_DESCRIPTION: Final = 4_000
_LONGEST_NUMBER: Final = 18


class Tus:
    """The endpoints of the protocol.

    Parameters
    ----------
    path
        Path at which uploads are made.
    """

    def __init__(self, receiver: Receiver, path: str) -> None:
        self._receiver, self._path = receiver, path
        self._folder = receiver.folder

    async def options(self, request: StreamedRequest) -> Response:
        """Answer what the server can do."""
        return Response(
            204,
            b"",
            (
                _TUS,
                ("tus-version", _VERSION),
                ("tus-extension", _EXTENSIONS),
                ("tus-max-size", str(self._receiver.limits.largest)),
                ("tus-checksum-algorithm", ",".join(CHECKSUMS)),
            ),
        )

    async def create(self, request: StreamedRequest) -> Response:
        """Begin an upload; its first part may come with it."""
        _require_version(request)
        described = request.headers.get("upload-metadata", "")
        said = _metadata(described)
        name = file_name(said.get("filename", said.get("name", "")))
        suffix = suffix_of(name, said.get("filetype", ""))
        meta = Meta(
            name,
            suffix,
            self._length(request),
            resumable=True,
            strict=said.get("strict") == "true",
            by=request.caller.name or "",
            described=described,
        )
        upload = await self._receiver.run(lambda: self._folder.create(meta))
        headers: Headers = (("location", f"{self._path}/{upload.id}"),)
        if request.headers.get("content-type") == _PART or meta.length == 0:
            headers += await self._append(request, upload, 0)
        return Response(201, b"", (_TUS, *headers, self._expires()))

    async def head(self, request: StreamedRequest) -> Response:
        """Answer how much of an upload has come."""
        _require_version(request)
        await self._receiver.run(lambda: self._folder.settle(_id(request)))
        found = await self._receiver.run(lambda: self._folder.state(_id(request)))
        described = await self._receiver.run(lambda: self._described(found))
        length = ("upload-length", str(found.length)) if found.length >= 0 else ("upload-defer-length", "1")
        headers: Headers = (_TUS, ("upload-offset", str(found.bytes)), length, ("cache-control", "no-store"))
        if described:
            headers += (("upload-metadata", described),)
        if found.state == "receiving":
            headers += (self._expires(),)
        return Response(200, b"", headers)

    async def patch(self, request: StreamedRequest) -> Response:
        """Take the next part."""
        _require_version(request)
        if request.headers.get("content-type") != _PART:
            raise HttpError(415, "type", f"the content-type of a part is {_PART}")
        offset = _number(request, "upload-offset")
        if offset is None:
            raise HttpError(400, "offset", "the header Upload-Offset is missing")
        upload_id = _id(request)
        try:
            upload = await self._receiver.run(lambda: self._folder.partial(upload_id))
        except NoSuchUpload:
            found = await self._receiver.run(lambda: self._folder.state(upload_id))
            raise HttpError(409, "complete", f"the upload has all its {found.bytes} bytes", (_TUS,)) from None
        return Response(204, b"", (_TUS, *await self._append(request, upload, offset), self._expires()))

    async def delete(self, request: StreamedRequest) -> Response:
        """Delete an upload that is not whole."""
        upload_id = _id(request)
        try:
            upload = await self._receiver.run(lambda: self._folder.partial(upload_id))
        except NoSuchUpload:
            found = await self._receiver.run(lambda: self._folder.state(upload_id))
            said = f"the upload is whole, and {found.state}: the importer has it"
            raise HttpError(409, "complete", said, (_TUS,)) from None
        with self._folder.writing(upload):
            await self._receiver.run(lambda: self._folder.remove(upload))
        return Response(204, b"", (_TUS,))

    async def _append(self, request: StreamedRequest, upload: Upload, offset: int) -> Headers:
        """Take a part at its place; return the header that names the new place."""
        run, limits = self._receiver.run, self._receiver.limits
        checksum = _checksum(request)
        with self._folder.writing(upload) as descriptor:
            size = upload.size()
            if offset != size:
                raise HttpError(409, "offset", f"the upload has {size} bytes: go on there", (_TUS,))
            meta = upload.meta()
            if meta.length < 0 and (length := self._length(request, may_defer=True)) >= 0:
                meta = msgspec.structs.replace(meta, length=length)
                await run(lambda: upload.describe(meta))
            most = (limits.largest if meta.length < 0 else meta.length) - size
            if most < 0 or (request.length or 0) > most:
                raise TooLarge("this part goes beyond the end of the upload")
            if checksum is not None:
                await run(lambda: upload.expect_check(size))
            more = await self._receiver.receive(
                descriptor, request.pieces(), most, None if checksum is None else checksum[0]
            )
            if checksum is not None:
                digest, expected = checksum
                if not hmac.compare_digest(digest.digest(), expected):
                    raise HttpError(_MISMATCH, "checksum", "the part has another checksum: send it again", (_TUS,))
                await run(upload.checked)
            if size + more == meta.length:
                await run(lambda: self._folder.complete(upload, descriptor))
        return (("upload-offset", str(size + more)),)

    def _length(self, request: StreamedRequest, *, may_defer: bool = False) -> int:
        """Return the size of the whole upload, -1 if it comes later."""
        length = _number(request, "upload-length")
        if length is None:
            if may_defer or request.headers.get("upload-defer-length") == "1":
                return -1
            raise HttpError(400, "length", "the header Upload-Length is missing", (_TUS,))
        if length > self._receiver.limits.largest:
            raise TooLarge
        return length

    def _described(self, found: Result) -> str:
        try:
            return self._folder.described(found.id).described
        except NoSuchUpload:
            return ""

    def _expires(self) -> tuple[str, str]:
        at = datetime.now(UTC) + timedelta(seconds=self._receiver.limits.expire_s)
        return ("upload-expires", format_datetime(at, usegmt=True))


def _id(request: StreamedRequest) -> str:
    return request.path.rpartition("/")[2]


def _require_version(request: StreamedRequest) -> None:
    if request.headers.get(TUS_HEADER) != _VERSION:
        said = f"the header Tus-Resumable must be {_VERSION}"
        raise HttpError(412, "version", said, (_TUS, ("tus-version", _VERSION)))


def _number(request: StreamedRequest, header: str) -> int | None:
    given: str | None = request.headers.get(header)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= _LONGEST_NUMBER):
        raise HttpError(400, "header", f"the header {header} must be a number of bytes", (_TUS,))
    return int(given)


def _metadata(given: str) -> dict[str, str]:
    """Return what ``Upload-Metadata`` says: pairs of a name and a text in base64."""
    if len(given) > _LONGEST_DESCRIPTION:
        raise HttpError(400, "metadata", f"Upload-Metadata has more than {_LONGEST_DESCRIPTION} characters", (_TUS,))
    found: dict[str, str] = {}
    for pair in filter(None, (each.strip() for each in given.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise HttpError(400, "metadata", f"Upload-Metadata: {name[:100]!r} is not base64", (_TUS,)) from None
    return found


def _checksum(request: StreamedRequest) -> tuple[_Hash, bytes] | None:
    """Return a new hash and the expected digest, `None` if the caller sent none."""
    given: str | None = request.headers.get("upload-checksum")
    if given is None:
        return None
    name, _, value = given.partition(" ")
    digest = digest_named(name)
    try:
        expected = base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        digest = None
        expected = b""
    if digest is None:
        raise HttpError(400, "checksum", f"Upload-Checksum must be one of {', '.join(CHECKSUMS)} and base64", (_TUS,))
    return digest, expected
