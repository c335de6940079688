"""Keys when several processes come at once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from model_store import KeyProblem
from model_store.signing import PRIVATE_NAME, TRUSTED, open_signer, open_trust

LEARNERS = 4


def open_often(folder: Path, gate: Barrier, found: SimpleQueue[list[str]], rounds: int) -> None:
    ids = []
    for number in range(rounds):
        gate.wait(timeout=30)
        try:
            ids.append(open_signer(folder / str(number)).key_id)
        except KeyProblem as problem:
            ids.append(str(problem))
    found.put(ids)


def test_learners_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Nor does one of them stumble over the key that another lets go."""
    fork, rounds = multiprocessing.get_context("fork"), 60
    gate, found = fork.Barrier(LEARNERS), fork.SimpleQueue()
    learners = [fork.Process(target=open_often, args=(tmp_path, gate, found, rounds)) for _ in range(LEARNERS)]
    for learner in learners:
        learner.start()
    ids = [found.get() for _ in learners]
    for learner in learners:
        learner.join()
    for number, of_one_start in enumerate(zip(*ids, strict=True)):
        folder = tmp_path / str(number)
        assert len(set(of_one_start)) == 1, of_one_start
        assert [path.name for path in (folder / TRUSTED).iterdir()] == [f"{of_one_start[0]}.pem"]
        assert [path.name for path in folder.iterdir() if path.is_file()] == [PRIVATE_NAME]
        signature = open_signer(folder).sign(b"x")
        open_trust(folder).verify(of_one_start[0], signature, b"x")
