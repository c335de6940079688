"""The importer of uploads: rows, dead letters and alerts exactly once, whatever it is asked again."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from system.oracle import read_all

from millstream.observability.instrumentation import RoleInstrumentation
from millstream.topics import admin
from producers.file_formats import SourceSpec
from producers.import_log import ImportStoppedError
from producers.imports import ImportOptions, import_rows
from runtime.kafka_client.cluster import Cluster, NoBroker
from schemas.alerts import read_alert
from schemas.dead_letters import read_dead_letter
from schemas.events import read_example
from schemas.target import Target
from schemas.topics import Names
from server.spool.errors import SpoolInUse
from server.uploads.file_checks import opened
from server.uploads.folder import Meta, Result, Upload, UploadFolder
from server.uploads.importer import ImportDoubt, Importer, ImporterSettings

SPEC = SourceSpec(target=Target(task="binary"))
CSV = b"x,label\n1,true\n2,perhaps\n3,false\n"


@pytest.fixture
def made(cluster: Cluster, names: Names) -> Names:
    admin.create(cluster, names, partitions=2, label_wait_ms=60_000)
    return names


class Site:
    """A folder of uploads and its importer."""

    def __init__(self, cluster: Cluster, names: Names, path: Path) -> None:
        self.cluster, self.names, self.path = cluster, names, path
        self.folder = UploadFolder(path)
        self.stop = threading.Event()
        self.said: list[str] = []

    def upload(self, content: bytes, meta: Meta | None = None) -> str:
        upload = self.folder.create(meta or Meta())
        with self.folder.writing(upload) as descriptor:
            upload.data.write_bytes(content)
            self.folder.complete(upload, descriptor)
        return upload.id

    def importer(self, largest_unpacked: int = 1 << 20) -> Importer:
        settings = ImporterSettings(
            names=self.names,
            instance="0",
            spec=SPEC,
            weigh=None,
            uploads=self.path,
            expire_s=3600,
            largest_unpacked=largest_unpacked,
        )
        return Importer(self.cluster, settings, self.stop, self.said.append, RoleInstrumentation())

    def turn(self, **more: int) -> None:
        """Start an importer, let it import what waits, and end it."""
        with closing(self.importer(**more)) as importer:
            importer.open()
            while importer.turn():
                pass

    def result(self, content: bytes, meta: Meta | None = None, **more: int) -> Result:
        upload_id = self.upload(content, meta)
        self.turn(**more)
        found = self.folder.result(upload_id)
        assert found is not None
        assert self.folder.count() == 0
        return found

    def ids(self) -> list[str]:
        return [read_example(r.value).event.event_id for r in self._on("examples")]

    def letters(self) -> list[tuple[str, int]]:
        found = [read_dead_letter(r.value) for r in self._on("dead-letters")]
        return [(each.topic, each.offset) for each in found]

    def alerts(self) -> list[tuple[str, str]]:
        return [(each.name, each.state) for each in (read_alert(r.value) for r in self._on("alerts"))]

    def _on(self, kind: str) -> list[object]:
        return list(read_all(self.cluster.bootstrap, self.names.topic(kind)))


@pytest.fixture
def site(cluster: Cluster, made: Names, tmp_path: Path) -> Site:
    return Site(cluster, made, tmp_path / "uploads")


def test_rows_are_examples_and_refused_ones_dead_letters_and_the_same_content_adds_nothing(site: Site) -> None:
    first = site.result(CSV, Meta("h.csv", ".csv"))
    assert (first.state, first.taken, first.already, first.refused) == ("imported", 2, 0, 1)
    [refusal] = first.refusals
    assert refusal.line == 3
    assert "perhaps" in refusal.reason
    assert site.letters() == [(f"upload:{first.id}", 3)]
    again = site.result(CSV)
    assert (again.state, again.taken, again.already, again.refused) == ("imported", 0, 2, 1)
    assert again.refusals == first.refusals
    assert len(site.ids()) == 2
    assert len(site.letters()) == 1
    added = [("importer.added", "raised"), ("importer.added", "cleared")]
    assert site.alerts() == added


def test_an_import_by_hand_of_the_same_content_is_known(site: Site, tmp_path: Path) -> None:
    upload = site.folder.create(Meta("h.csv", ".csv"))
    upload.data.write_bytes(CSV)
    import_rows(site.cluster, site.names, opened(upload, SPEC))
    site.folder.remove(upload)
    found = site.result(CSV)
    assert (found.taken, found.already, found.refused) == (0, 2, 1)


def test_a_crash_after_the_rows_and_one_after_the_end_give_the_same_result(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("killed")

    upload_id = site.upload(CSV)
    for place in ("server.uploads.importer._BEFORE_END", "server.uploads.importer._BEFORE_RESULT"):
        with monkeypatch.context() as patched:
            patched.setattr(place, fails)
            with pytest.raises(RuntimeError, match="killed"):
                site.turn()
    site.turn()
    found = site.folder.result(upload_id)
    assert found is not None
    assert (found.taken, found.already, found.refused, len(found.refusals)) == (2, 0, 1, 1)
    assert len(site.ids()) == 2
    assert len(site.letters()) == 1
    assert site.alerts() == [("importer.added", "raised"), ("importer.added", "cleared")]


def test_what_cannot_be_imported_is_refused_with_the_reason_and_an_alert_until_one_can(site: Site) -> None:
    cases: list[tuple[bytes, Meta, str, str]] = [
        (b"x,y\n1,2\n", Meta("h.csv", ".csv"), "file", "h.csv has no column 'label'"),
        (b"x,label\n1,perhaps\n", Meta(), "rows", "all its 1 rows are refused"),
        (b"x,label\n", Meta(), "rows", "it has no rows"),
        (b"\x1f\x8b\x08\0broken", Meta(), "file", "cannot be read"),
        (b"Obj\x01broken", Meta(), "file", "cannot be read"),
        (b"[1]", Meta(), "file", "one JSON array"),
        (CSV, Meta(strict=True), "strict", "nothing was imported: 1 rows cannot be examples"),
    ]
    for content, meta, code, said in cases:
        found = site.result(content, meta)
        assert found.state == "refused"
        assert (found.error.code, said in found.error.message) == (code, True), found.error  # type: ignore[union-attr]
    assert (found.refused, [each.line for each in found.refusals]) == (1, [3])
    assert site.ids() == []
    assert site.alerts() == [("importer.refused", "raised")]
    site.result(CSV)
    assert site.alerts()[-1] == ("importer.refused", "cleared")


def test_what_would_fill_the_memory_is_refused(site: Site) -> None:
    assert "more than 1000 bytes" in error(site.result(gzip.compress(bytes(5000)), largest_unpacked=1000))
    assert "a line of more than 16 MiB" in error(site.result(gzip.compress(bytes(18 << 20)), largest_unpacked=1 << 30))


def error(found: Result) -> str:
    return str(found.error.message)  # type: ignore[union-attr]


def test_a_disk_that_fails_says_nothing_of_the_upload(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.upload(CSV)

    def refusing(_path: object) -> object:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("server.uploads.file_checks.open_unpacked", refusing)
        with pytest.raises(ImportDoubt, match="Input/output error"):
            site.turn()
    site.turn()
    assert len(site.ids()) == 2


def test_an_upload_that_ends_the_importer_each_time_is_given_up_and_an_outage_does_not_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = site.upload(CSV)
    after = site.upload(CSV.replace(b"1,", b"7,"))

    def failing(error: type[Exception]) -> Callable[..., None]:
        def fails(*_: object, **__: object) -> None:
            raise error("broken")

        return fails

    monkeypatch.setattr("server.uploads.importer._MOST_ATTEMPTS", 3)
    for kind in (NoBroker, ZeroDivisionError, ZeroDivisionError, ImportStoppedError, ZeroDivisionError):
        with monkeypatch.context() as patched:
            patched.setattr("server.uploads.importer.import_rows", failing(kind))
            with pytest.raises(kind):
                site.turn()
    site.turn()
    given_up, next_one = site.folder.result(upload_id), site.folder.result(after)
    assert given_up is not None
    assert next_one is not None
    assert "ended the importer 3 times" in error(given_up)
    assert (given_up.state, next_one.state, next_one.taken) == ("refused", "imported", 2)


def test_told_to_stop_it_goes_on_with_the_next_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 50
    content = b"x,label\n" + b"".join(b"%d,true\n" % number for number in range(rows))
    upload_id = site.upload(content)
    small: Callable[..., ImportOptions] = lambda **more: ImportOptions(**more, transaction_rows=10)  # noqa: E731
    monkeypatch.setattr("server.uploads.importer.ImportOptions", small)
    with closing(site.importer()) as importer:
        importer.open()
        monkeypatch.setattr(importer, "_progressed", lambda _progress: site.stop.set())
        assert not importer.turn()
    assert len(site.ids()) == 10
    assert [Upload(each.path).id for each in site.folder.waiting()] == [upload_id]
    site.stop.clear()
    site.turn()
    found = site.folder.result(upload_id)
    assert found is not None
    assert (found.taken, found.already) == (rows, 0)
    assert len(site.ids()) == rows


def test_one_importer_has_the_folder(site: Site) -> None:
    with closing(site.importer()), pytest.raises(SpoolInUse, match="another importer"):
        site.importer()
