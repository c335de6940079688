"""Where uploads stand on this machine: by their folder and the importer's lock."""

from __future__ import annotations

import os
from pathlib import Path

from millstream.status.upload_state import look
from server.spool.folder import hold
from server.uploads.folder import Meta, UploadFolder


def test_without_uploads_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert look(tmp_path / "uploads") is None
    assert not (tmp_path / "uploads").exists()


def test_what_waits_and_who_works(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path)
    upload = folder.create(Meta())
    with folder.writing(upload) as descriptor:
        os.write(descriptor, b"x,label")
        folder.complete(upload, descriptor)
    folder.create(Meta(resumable=True))
    found = look(tmp_path)
    assert found is not None
    assert (found.importers, found.waiting, found.bytes) == (0, 1, 7)
    assert 0 <= found.oldest_s < 60
    assert found.needs() == "1 uploads wait, and no importer runs on this machine"
    lock = hold(tmp_path / "importer.lock", "another importer")
    found = look(tmp_path)
    assert found is not None
    assert (found.importers, found.needs()) == (1, None)
    assert found.line().startswith("1 wait to be imported, the oldest for ")
    os.close(lock)
