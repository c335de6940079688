"""A stream backed up and restored into an empty cluster and store by the commands, and going on from its place."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from system.oracle import Stream, examples, read_all
from system.test_commands import millstream, told, written
from system.test_several_models import FILE

pytestmark = pytest.mark.usefixtures("bootstrap")


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


@pytest.fixture
def elsewhere(stream: Stream, tmp_path: Path) -> Stream:
    """Return the same stream where nothing of it is: other topics, another home."""
    return replace(stream, prefix=f"{stream.prefix}b-", home=tmp_path / "elsewhere")


def learned(stream: Stream, file: Path) -> None:
    """Publish a file with its labels, and run until all of it is learned."""
    millstream(stream, "publish", "phishing", str(file), "--label-delay", "0s")
    millstream(stream, "run", "phishing", "--until-idle", "2s")


def logged(stream: Stream) -> list[tuple[int, bytes | None, bytes | None]]:
    topic = stream.names.topic("examples")
    return [(record.offset, record.key, record.value) for record in read_all(stream.bootstrap, topic)]


@pytest.mark.full
def test_a_restored_stream_goes_on_from_its_place_and_verifies(
    stream: Stream, elsewhere: Stream, tmp_path: Path
) -> None:
    first = written(tmp_path / "first.csv", 0, 300, labelled=True)
    millstream(stream, "topics", "create", "phishing")
    millstream(stream, "import", "phishing", str(written(tmp_path / "history.csv", 600, 700, labelled=True)))
    learned(stream, first)
    millstream(stream, "models", "pin", "phishing", "1/400", "--why", "to see it again")
    made = told(stream, "backup", "phishing", str(tmp_path / "backup"))
    assert (made["examples"], made["decisions"]) == (400, 1)

    refused = millstream(elsewhere, "restore", "phishing", str(tmp_path / "backup"), code=1)
    assert "not trusted here" in refused
    assert not (elsewhere.home / "keys" / "signing.pem").exists()
    shutil.copytree(stream.home / "keys", elsewhere.home / "keys")
    restored = told(elsewhere, "restore", "phishing", str(tmp_path / "backup"))
    assert (restored["examples"], restored["versions"]) == (400, made["versions"])
    assert logged(elsewhere) == logged(stream)
    assert told(elsewhere, "models", "verify", "phishing", "1/400")["holds"]

    learned(elsewhere, written(tmp_path / "second.csv", 300, 500, labelled=True))
    versions = told(elsewhere, "models", "list", "phishing")
    assert versions[-1]["version"] == "2/600"
    begun = next(each for each in versions if each["version"] == "2/400")
    old = next(each for each in versions if each["version"] == "1/400")
    assert (begun["parent"], begun["offset"], begun["chain"]) == ("1/400", old["offset"], old["chain"])
    assert told(elsewhere, "models", "verify", "phishing", "2/600")["holds"]
    assert len(examples(elsewhere)) == 600
    assert told(elsewhere, "status", "phishing")["model"]["served"] == "1/400"
    again = told(elsewhere, "import", "phishing", str(tmp_path / "history.csv"))
    assert (again["imported"], again["already"]) == (0, 100)


@pytest.mark.full
def test_a_restored_stream_of_several_models_compares_again_from_its_new_events(
    stream: Stream, elsewhere: Stream, tmp_path: Path
) -> None:
    """Comparisons are not in a backup: the decisions with their evidence are, and new events are compared."""
    file = tmp_path / "several.py"
    file.write_text(FILE.replace("Model, Stream", "Model, Promote, Stream").replace(
        "    models={", '    promote=Promote(loss="brier"),\n    models={'
    ))  # fmt: skip
    before, after = replace(stream, ref=str(file)), replace(elsewhere, ref=str(file))
    millstream(before, "topics", "create", before.ref)
    ran(before, written(tmp_path / "first.csv", 0, 300, labelled=True))
    millstream(before, "models", "promote", before.ref, "tree", "--why", "better")
    millstream(before, "pause", before.ref, "--model", "few", "--why", "quiet")
    millstream(before, "backup", before.ref, str(tmp_path / "backup"))
    history = told(before, "models", "history", before.ref)

    shutil.copytree(before.home / "keys", after.home / "keys")
    millstream(after, "restore", after.ref, str(tmp_path / "backup"))
    restored = told(after, "models", "history", after.ref)
    assert [(each["decision"], each["why"]) for each in restored] == [
        (each["decision"], each["why"]) for each in history
    ]
    compared = told(after, "models", "compare", after.ref)
    assert not compared["as_served"], "before there are new events, only what the learners' own metrics say"

    millstream(after, "resume", after.ref, "--model", "few")
    ran(after, written(tmp_path / "second.csv", 300, 500, labelled=True))
    report = told(after, "status", after.ref)
    assert [each["name"] for each in report["models"] if each["serves"]] == ["tree"]
    assert [alert for alert in report["alerts"] if "is running" not in alert] == []
    assert (report["contest"]["champion"], report["model"]["served"]) == ("tree", "tree:2/500")
    compared = told(after, "models", "compare", after.ref)
    assert compared["as_served"]
    assert (compared["champion"], compared["measured"]) == ("tree", 200)


def ran(stream: Stream, file: Path) -> None:
    """Publish a file with its labels, and run until all of it is learned and compared."""
    millstream(stream, "publish", stream.ref, str(file), "--label-delay", "0s")
    millstream(stream, "run", stream.ref, "--until-idle", "3s")
