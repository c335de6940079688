"""History onto the examples log: each row once, through kill -9, lost answers and forgotten offsets."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from kafka.structs import TopicPartition
from proxy import Proxy
from raw_kafka import raw_admin, raw_consumer

from producers.file_formats import RowSource, SourceError, SourceSpec, open_source
from producers.imports import (
    ImportOptions,
    ImportProgress,
    ImportRefusedError,
    ImportReport,
    ImportStoppedError,
    import_rows,
    lane_name,
)
from runtime.kafka_client.cluster import Cluster, MissingTopic
from runtime.kafka_client.transaction import TransactionLimits
from schemas.contract import Contract, Feature
from schemas.events import Example, read_example
from schemas.target import Target
from schemas.topics import Names

ROOT = Path(__file__).parents[2]
BINARY = Target(task="binary")
HASTY = TransactionLimits(
    request_ms=400, delivery_ms=800, deadline_ms=1_000, broker_ms=2_000, open_ms=45_000, connect_ms=15_000
)


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap)


@pytest.fixture
def names(cluster: Cluster, prefix: str) -> Names:
    names = Names("clicks", prefix=prefix)
    make_topic(cluster, names)
    return names


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy
        for thread in threading.enumerate():
            if thread.name in {"abandon-producer", "transaction"}:
                thread.join(10)


def make_topic(cluster: Cluster, names: Names) -> None:
    with raw_admin(cluster) as admin:
        admin.create_topics(
            {names.topic("examples"): {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True
        )


def history(folder: Path, rows: int, spec: SourceSpec | None = None) -> RowSource:
    path = folder / "history.csv"
    path.write_text("x,at,label\n" + "".join(f"{n / 4},{1_700_000_000_000 + n},{n % 2}\n" for n in range(rows)))
    return open_source(path, spec or SourceSpec(target=BINARY, time="at"))


def examples(cluster: Cluster, names: Names) -> list[Example]:
    """Return the log as a reader of committed records sees it."""
    consumer = raw_consumer(cluster)
    partition = TopicPartition(names.topic("examples"), 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    found: list[Example] = []
    deadline = time.monotonic() + 20
    while consumer.position(partition) < end:
        assert time.monotonic() < deadline, "the log could not be read to its end"
        found += [read_example(record.value) for batch in consumer.poll(200).values() for record in batch]
    consumer.close()
    return found


def assert_whole(found: list[Example], source: RowSource, rows: int) -> None:
    """Check that the log has every row once, in order, with the lane's sequence without gaps."""
    assert [example.event.event_id for example in found] == [row.event_id for row in source.rows()]
    assert [example.lane.sequence for example in found] == list(range(rows))


def test_rows_become_examples_of_one_lane(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    source = history(tmp_path, 250)
    told: list[ImportProgress] = []
    options = ImportOptions(transaction_rows=100, weigh=lambda _features, label: 20.0 if label else 1.0)
    report = import_rows(cluster, names, source, options, progress=told.append)
    assert (report.imported, report.refused, report.already, report.lane_examples) == (250, 0, 0, 250)
    found = examples(cluster, names)
    assert_whole(found, source, 250)
    third = found[3]
    assert (third.outcome, third.joined) == (None, None)
    assert (third.lane.name, third.lane.epoch) == (report.lane, "0")
    assert third.event.features == {"x": 0.75}
    assert third.label is not None
    assert (third.label.value, third.label.source, third.label.weight) == (True, "import", 20.0)
    assert type(third.label.value) is bool
    assert third.label.label_time == third.event.event_time == 1_700_000_000_003
    assert [(each.rows, each.total) for each in told] == [(100, 250), (200, 250), (250, 250)]


def test_a_second_import_of_the_same_file_imports_nothing(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    source = history(tmp_path, 100)
    import_rows(cluster, names, source)
    again = import_rows(cluster, names, history(tmp_path, 100))
    assert (again.imported, again.already, again.lane_examples) == (0, 100, 100)
    assert_whole(examples(cluster, names), source, 100)


def test_rows_with_the_id_of_another_are_imported_and_counted(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("id,x,label\n" + "".join(f"e{n % 7},{n},{n % 2}\n" for n in range(10)))
    spec = SourceSpec(label="label", id="id", target=Target(task="binary"))
    report = import_rows(cluster, names, open_source(path, spec), ImportOptions(transaction_rows=4))
    assert (report.imported, report.repeated_ids) == (10, 3)
    again = import_rows(cluster, names, open_source(path, spec))
    assert (again.imported, again.already, again.repeated_ids) == (0, 10, 3)


def test_rows_within_a_quote_that_is_not_closed_are_counted_as_refused(
    cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    path = tmp_path / "quote.csv"
    rows = [f"p,{n},{n % 2}\n" for n in range(100)]
    rows[40], rows[70] = f'"{rows[40]}', f'"{rows[70]}'
    path.write_text("t,x,label\n" + "".join(rows))
    spec = SourceSpec(target=BINARY)
    report = import_rows(cluster, names, open_source(path, spec), ImportOptions(transaction_rows=10))
    assert (report.imported, report.refused) == (69, 31)
    again = import_rows(cluster, names, open_source(path, spec))
    assert (again.imported, again.refused, again.already) == (0, 0, 100)
    assert len(examples(cluster, names)) == 69


def test_of_a_damaged_file_nothing_is_imported(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "cut.avro"
    fields = [{"name": "x", "type": "int"}, {"name": "label", "type": "int"}]
    with path.open("wb") as file:
        rows = ({"x": n, "label": n % 2} for n in range(300))
        fastavro.writer(file, {"type": "record", "name": "R", "fields": fields}, rows, sync_interval=200)
    path.write_bytes(path.read_bytes()[:-50])
    source = open_source(path, SourceSpec(target=BINARY))
    with pytest.raises(SourceError, match=r"cut\.avro cannot be read at record \d+: .*; nothing of it was imported"):
        import_rows(cluster, names, source, ImportOptions(transaction_rows=10))
    assert examples(cluster, names) == []


def test_the_lane_is_the_content_and_the_named_columns(tmp_path: Path) -> None:
    one = lane_name(history(tmp_path, 10))
    assert lane_name(history(tmp_path, 10)) == one
    assert one.startswith("import-")
    assert len(one) == len("import-") + 16
    contract = Contract(features={"x": Feature(maximum=1)})
    assert lane_name(history(tmp_path, 10, SourceSpec(target=BINARY, time="at", contract=contract))) == one
    assert lane_name(history(tmp_path, 10, SourceSpec(target=BINARY))) != one
    assert lane_name(history(tmp_path, 11)) != one


def test_rows_that_cannot_be_examples_are_counted_and_named(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text("x,label\n1,1\n99,1\n2,\n3\n4,0\n5,maybe\n")
    contract = Contract(features={"x": Feature(type="number", maximum=10)})
    source = open_source(path, SourceSpec(target=BINARY, contract=contract))
    report = import_rows(cluster, names, source, ImportOptions(transaction_rows=2))
    assert (report.imported, report.refused) == (2, 4)
    assert [line.split(": ", 1)[0].rsplit(" ", 1)[1] for line in report.first_refused] == ["3", "4", "5", "7"]
    for reason, line in zip(("above 10", "no label", "1 columns", "'maybe'"), report.first_refused, strict=True):
        assert reason in line
    found = examples(cluster, names)
    assert [(example.event.features, example.lane.sequence) for example in found] == [({"x": 1.0}, 0), ({"x": 4.0}, 1)]
    again = import_rows(cluster, names, source)
    assert (again.imported, again.refused, again.already, again.lane_refused) == (0, 0, 6, 4)


def test_strict_imports_nothing_of_a_file_with_a_bad_row(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text("x,label\n" + "1,1\n" * 20 + "inf,1\n")
    source = open_source(path, SourceSpec(target=BINARY))
    with pytest.raises(ImportRefusedError, match=r"nothing was imported: 1 rows .* line 22: column 'x': inf"):
        import_rows(cluster, names, source, ImportOptions(strict=True, transaction_rows=5))
    assert examples(cluster, names) == []


IMPORT = """
import sys, time
from producers.imports import ImportOptions, import_rows
from producers.file_formats import SourceSpec, open_source
from runtime.kafka_client.cluster import Cluster
from schemas.target import Target
from schemas.topics import Names

bootstrap, prefix, path = sys.argv[1:]
source = open_source(path, SourceSpec(target=Target(task="binary"), time="at"))
import_rows(
    Cluster(bootstrap),
    Names("clicks", prefix=prefix),
    source,
    ImportOptions(transaction_rows=50),
    progress=lambda progress: print(progress.rows, flush=True),
)
"""


def test_killed_and_resumed_it_neither_repeats_nor_skips(
    cluster: Cluster, names: Names, prefix: str, tmp_path: Path
) -> None:
    source = history(tmp_path, 3000)
    command = [sys.executable, "-c", IMPORT, cluster.bootstrap, prefix, source.name]
    last = 0
    for kill_after in (3, 7, 4):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(kill_after)]
            process.kill()
        assert told[0] > last
        last = told[-1]
    report = import_rows(cluster, names, source)
    assert last <= report.already < 3000
    assert report.imported == 3000 - report.already > 0
    assert_whole(examples(cluster, names), source, 3000)


def import_until_done(bootstrap: str, names: Names, source: RowSource) -> tuple[ImportReport, int]:
    """Run the import again for as long as it stops; return the last report and how often it stopped."""
    for stopped in range(10):
        try:
            options = ImportOptions(transaction_rows=50)
            return import_rows(Cluster(bootstrap), names, source, options, limits=HASTY), stopped
        except ImportStoppedError:
            continue
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("api", ["Produce", "TxnOffsetCommit", "EndTxn", "AddOffsetsToTxn"])
@pytest.mark.parametrize("eaten", ["request", "answer"])
def test_whatever_goes_missing_the_next_run_sets_right(
    cluster: Cluster, names: Names, proxy: Proxy, tmp_path: Path, api: str, eaten: str
) -> None:
    source = history(tmp_path, 500)
    drop = proxy.drop_requests if eaten == "request" else proxy.drop_responses
    # Lost for good, from the third transaction on, until the import has stopped over it.
    lost = drop(api, times=None, skip=2)
    with pytest.raises(ImportStoppedError, match="run the same command again"):
        import_rows(Cluster(proxy.bootstrap), names, source, ImportOptions(transaction_rows=50), limits=HASTY)
    assert lost.applied >= 1
    proxy.clear()
    report, _ = import_until_done(proxy.bootstrap, names, source)
    assert 0 < report.already < 500
    assert_whole(examples(cluster, names), source, 500)


def test_a_record_that_expired_is_never_committed_around(
    cluster: Cluster, names: Names, proxy: Proxy, tmp_path: Path
) -> None:
    """kafka-python's commit returns as if nothing were missing when a record of the transaction has expired."""
    source = history(tmp_path, 150)
    lost = proxy.drop_requests("Produce", times=3, skip=1)
    report, stopped = import_until_done(proxy.bootstrap, names, source)
    assert lost.applied > 0
    assert report.lane_examples == 150
    assert_whole(examples(cluster, names), source, 150)
    assert stopped >= 1


def test_a_place_that_kafka_forgot_is_read_off_the_log(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("x,label\n" + "?,\n" + "1,1\n" * 99)
    source = open_source(path, SourceSpec(target=BINARY))
    first = import_rows(cluster, names, source)
    with raw_admin(cluster) as admin:
        admin.delete_groups([f"{names.group('import')}.{first.lane}"])
    told: list[ImportProgress] = []
    again = import_rows(cluster, names, source, progress=told.append)
    assert (again.imported, again.already, again.lane_examples, again.lane_refused) == (0, 100, 99, 1)
    assert max(each.scanned for each in told) == 99
    assert len(examples(cluster, names)) == 99


def test_a_log_made_anew_takes_the_file_from_its_beginning(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    source = history(tmp_path, 20)
    import_rows(cluster, names, source)
    topic = names.topic("examples")
    with raw_admin(cluster) as admin:
        admin.delete_topics([topic])
    deadline = time.monotonic() + 10
    while cluster.topic_info(topic):
        assert time.monotonic() < deadline, "the topic is still there"
    make_topic(cluster, names)
    assert import_rows(cluster, names, source).imported == 20
    assert_whole(examples(cluster, names), source, 20)


def test_a_second_import_takes_over_and_the_first_one_says_so(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    source = history(tmp_path, 500)
    reports: list[Any] = []

    def overtake(_progress: ImportProgress) -> None:
        if not reports:
            reports.append(import_rows(cluster, names, source))

    with pytest.raises(ImportStoppedError, match="another import of the same file took over"):
        import_rows(cluster, names, source, ImportOptions(transaction_rows=50), progress=overtake)
    assert (reports[0].already, reports[0].imported) == (50, 450)
    assert_whole(examples(cluster, names), source, 500)


def test_stopping_a_strict_one_while_it_looks_imports_nothing(
    cluster: Cluster, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, stop, seen = history(tmp_path, 100), threading.Event(), 0
    rows = source.rows

    def stopped_at_the_tenth(on_bad: Any = None) -> Iterator[Any]:
        nonlocal seen
        for row in rows(on_bad):
            seen += 1
            if seen == 10:
                stop.set()
            yield row

    monkeypatch.setattr(source, "rows", stopped_at_the_tenth)
    report = import_rows(cluster, names, source, ImportOptions(strict=True), stop=stop)
    assert (report.interrupted, report.imported, report.lane_examples) == (True, 0, 0)
    assert seen <= 11, "it goes on reading"
    assert examples(cluster, names) == []


def test_stopping_ends_it_after_the_transaction_under_way(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    source = history(tmp_path, 500)
    stop = threading.Event()
    options = ImportOptions(transaction_rows=50)
    report = import_rows(cluster, names, source, options, progress=lambda _progress: stop.set(), stop=stop)
    assert (report.interrupted, report.imported) == (True, 50)
    assert import_rows(cluster, names, source).imported == 450
    assert_whole(examples(cluster, names), source, 500)


def test_a_file_that_changes_meanwhile_is_noticed(cluster: Cluster, names: Names, tmp_path: Path) -> None:
    source = history(tmp_path, 5000)

    def change(_progress: ImportProgress) -> None:
        with Path(source.name).open("a") as file:
            file.write("1,1,1\n")

    with pytest.raises(ImportRefusedError, match="changed while it was imported"):
        import_rows(cluster, names, source, ImportOptions(transaction_rows=50), progress=change)


def test_without_a_log_nothing_is_imported(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(MissingTopic, match="does not exist"):
        import_rows(cluster, Names("nothing", prefix=prefix), history(tmp_path, 1))
