"""Compressed files of every codec: read, or refused in one line that names the file and the place."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import fastavro
import pytest
import zstandard

from producers.file_formats import SourceError, SourceSpec, open_source
from producers.infer import infer

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TEXT = "x,label\n" + "".join(f"{n * 7919 % 100003},{n % 2}\n" for n in range(20_000))
CODECS = ("null", "deflate", "bzip2", "xz", "snappy", "lz4", "zstandard")
SCHEMA = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "x", "type": "double"}, {"name": "label", "type": "int"}],
}


def avro(codec: str) -> bytes:
    """Return 4,000 records in blocks; zstandard by the library that is here, as fastavro writes it with another."""
    rows = [{"x": n * 7919 % 1000 / 7, "label": n % 2} for n in range(4_000)]
    out = BytesIO()
    if codec != "zstandard":
        fastavro.writer(out, SCHEMA, rows, codec=codec, sync_interval=4_000)
        return out.getvalue()
    sync = bytes(range(16))
    meta = {"avro.schema": json.dumps(SCHEMA).encode(), "avro.codec": b"zstandard"}
    out.write(b"Obj\x01")
    fastavro.schemaless_writer(out, {"type": "map", "values": "bytes"}, meta)
    out.write(sync)
    for start in range(0, 4_000, 500):
        body = BytesIO()
        for row in rows[start : start + 500]:
            fastavro.schemaless_writer(body, SCHEMA, row)
        fastavro.schemaless_writer(out, "long", 500)
        fastavro.schemaless_writer(
            out, "bytes", zstandard.ZstdCompressor(write_checksum=True).compress(body.getvalue())
        )
        out.write(sync)
    return out.getvalue()


def spoiled(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + b"\xff" * 40 + data[middle + 40 :]


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_file_is_read_and_called_as_what_is_in_it(tmp_path: Path, suffix: str) -> None:
    plain, packed = tmp_path / "a.csv", tmp_path / f"a.csv{suffix}"
    plain.write_text(TEXT)
    packed.write_bytes(PACK[suffix](TEXT.encode()[:100_000]) + PACK[suffix](TEXT.encode()[100_000:]))
    assert [row.event_id for row in open_source(packed).rows()] == [row.event_id for row in open_source(plain).rows()]
    assert open_source(packed).sha256() == open_source(plain).sha256()
    assert open_source(packed).count() == 20_000


@pytest.mark.parametrize("harm", ["cut", "spoiled"])
@pytest.mark.parametrize("suffix", PACK)
def test_a_damaged_compressed_file_is_one_line_with_the_place(tmp_path: Path, suffix: str, harm: str) -> None:
    data = PACK[suffix](TEXT.encode())
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(data[: len(data) // 2] if harm == "cut" else spoiled(data))
    source = open_source(path)
    with pytest.raises(SourceError, match=r"a\.csv\.\w+ cannot be read after line \d+: .*copy it again"):
        list(source.rows(lambda _bad: None))  # bytes that were spoiled give lines before a checksum tells
    with pytest.raises(SourceError, match=r"a\.csv\.\w+ cannot be read to its end"):
        source.sha256()
    with pytest.raises(SourceError):
        source.count()


@pytest.mark.parametrize("codec", CODECS)
def test_avro_is_read_in_every_codec(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.avro"
    path.write_bytes(avro(codec))
    assert len(list(open_source(path).rows())) == open_source(path).count() == 4_000


@pytest.mark.parametrize("harm", ["cut", "spoiled"])
@pytest.mark.parametrize("codec", CODECS)
def test_damaged_avro_is_one_line_with_the_record(tmp_path: Path, codec: str, harm: str) -> None:
    data = avro(codec)
    path = tmp_path / "a.avro"
    path.write_bytes(data[: len(data) * 2 // 3] if harm == "cut" else spoiled(data))
    with pytest.raises(SourceError, match=r"a\.avro cannot be read at record \d+: ") as caught:
        open_source(path).require_whole()
    assert "<" not in str(caught.value)


def test_an_unknown_codec_and_a_cut_header_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.avro"
    path.write_bytes(avro("null").replace(b"\x08null", b"\x08lzma", 1))
    with pytest.raises(SourceError, match="codec 'lzma', which is not read; these are: bzip2, deflate"):
        list(open_source(path).rows())
    path.write_bytes(avro("null")[:30])
    with pytest.raises(SourceError, match="cannot be read at its header"):
        list(open_source(path).rows())


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 3))):
        at = rng.randrange(len(out)) if out else 0
        if rng.random() < 0.3:
            del out[at:]
        elif rng.random() < 0.5:
            del out[at : at + 40]
        elif out:
            out[at] = rng.randrange(256)
    return bytes(out)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_bytes_a_file_has_it_is_read_or_refused_in_one_line(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    cells = ("1", "1,5", "1.234", "NA", "", "2026-01-01", '"', '"q"', "$5", "inf", "true", "\r", "é")
    table = "a;b;label\n" + "".join(";".join(rng.choices(cells, k=3)) + "\n" for _ in range(30))
    values = ("1", "NaN", "[1]", '{"x": 1}', '"NA"')
    lines = "".join(f'{{"a": {rng.choice(values)}, "label": 1}}\n' for _ in range(30))
    suffix, pack = rng.choice([("", bytes), *PACK.items()])
    ending, content = rng.choice([(".csv", table.encode()), (".jsonl", lines.encode()), (".avro", avro("deflate"))])
    path = tmp_path / f"a{ending}{suffix}"
    path.write_bytes(mutated(pack(mutated(content, rng)), rng))
    source = open_source(path, SourceSpec(label_required=False))
    looks: list[Callable[[], object]] = [source.count, source.sha256]
    looks += [lambda: infer(str(path)), lambda: list(source.rows(lambda _bad: None))]
    said = []
    for look in looks:
        try:
            look()
        except SourceError as error:
            said.append(str(error))
    assert "\n" not in "".join(said)
