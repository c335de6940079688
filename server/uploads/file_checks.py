"""Checks of an uploaded file before it is read as rows, and its format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from producers.compressed import UNREADABLE, open_unpacked, without_suffix
from producers.file_formats import SUFFIXES, open_named
from producers.file_source import BOM
from producers.rows import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producers.rows import RowSource, SourceSpec
    from server.uploads.folder import Upload

_CHUNK: Final = 1 << 20
_LONGEST_LINE: Final = 16 << 20
_LONGEST_NAME: Final = 200
_AVRO: Final = ".avro"
_BY_TYPE: Final = {
    "text/csv": ".csv",
    "application/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/x-jsonlines": ".jsonl",
    "avro/binary": _AVRO,
    "application/avro": _AVRO,
    "application/vnd.apache.avro": _AVRO,
    "application/vnd.apache.avro+binary": _AVRO,
}
# What clients send if they are not told (curl sends the first), and types of compressed files.
_ANY_TYPE: Final = frozenset(
    (
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "text/plain",
        "application/gzip",
        "application/x-gzip",
        "application/zstd",
        "application/x-bzip2",
        "application/x-xz",
        "",
    )
)


class UnknownFormat(ValueError):  # noqa: N818
    """Neither name nor type say a format that is read; the message lists them."""


class InvalidName(ValueError):  # noqa: N818
    """A text that cannot be the name of a file."""


def file_name(given: str) -> str:
    """Return a file's name without folders. Raises InvalidName."""
    name = given.replace("\\", "/").rpartition("/")[2]
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidName(f"a name has at most {_LONGEST_NAME} printable characters")
    return name


def suffix_of(name: str, content_type: str) -> str:
    """Return the format by a file's name, else by its type; empty if its content has to tell.

    Raises
    ------
    UnknownFormat
        If name or type say another format.
    """
    file = without_suffix(name)
    suffix = file[file.rfind(".") :].lower() if "." in file else ""
    if suffix in SUFFIXES:
        return suffix
    if suffix:
        raise UnknownFormat(
            f"{name}: name it by what it holds: {', '.join(SUFFIXES)} (also with .gz, .bz2, .xz or .zst)"
        )
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if kind in _ANY_TYPE:
        return ""
    if kind.startswith("multipart/"):
        raise UnknownFormat("a form is not read: send the file as the body (curl --data-binary @FILE)")
    raise UnknownFormat(f"content-type {kind[:100]} is not read; these are: {', '.join(_BY_TYPE)}; or give ?name=")


def opened(upload: Upload, spec: SourceSpec) -> RowSource:
    """Return the rows of an upload. Raises SourceError."""
    meta = upload.meta()
    suffix = meta.suffix or _by_content(upload)
    shown = meta.name or "the upload"
    known = without_suffix(meta.name).rpartition(".")[0] or without_suffix(meta.name)
    source = open_named(upload.data, suffix, shown, known, spec)
    if not known:
        # By the content, as the lane is: the same file has the same ids in every attempt.
        source.stem = f"upload-{source.sha256()[:12]}"
    return source


def require_fit(upload: Upload, largest_unpacked: int) -> None:
    """Read an upload as bytes, so that what the readers of rows keep in memory has a limit.

    Raises
    ------
    SourceError
        If it is larger than `largest_unpacked` bytes when it is unpacked, or has a line of more than 16 MiB.
    """
    meta = upload.meta()
    shown = meta.name or "the upload"
    is_text = (meta.suffix or _by_content(upload)) != _AVRO
    size = line = 0
    for chunk in _chunks(upload, shown):
        size += len(chunk)
        if size > largest_unpacked:
            raise SourceError(f"{shown} has more than {largest_unpacked} bytes when it is unpacked: send it in parts")
        end = chunk.rfind(b"\n")
        line = line + len(chunk) if end < 0 else len(chunk) - end - 1
        if is_text and line > _LONGEST_LINE:
            raise SourceError(f"{shown} has a line of more than {_LONGEST_LINE >> 20} MiB")


def _by_content(upload: Upload) -> str:
    begins = next(_chunks(upload, "the upload"), b"").removeprefix(BOM).lstrip()
    if begins.startswith(b"Obj\x01"):
        return _AVRO
    return ".jsonl" if begins.startswith((b"{", b"[")) else ".csv"


def _chunks(upload: Upload, shown: str) -> Iterator[bytes]:
    try:
        with open_unpacked(upload.data) as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except UNREADABLE as error:
        raise SourceError(f"{shown} cannot be read: {error} (damaged or cut short? send it again)") from error
