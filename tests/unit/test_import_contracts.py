"""The contracts of import-linter fail when they are broken: each is broken once, in a copy of the product."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")
BROKEN = {
    # contract: (file, each line that breaks it)
    "imports run one way": ("schemas/target.py", "import model_store.retention"),
    "only runtime.kafka_client imports a Kafka client": (
        "consumers/loop/loop.py",
        "def late() -> None: import kafka",
        "def late() -> None: import confluent_kafka.admin",
    ),
    "no module, and no folder, imports in a circle": (
        "producers/columns.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING: import producers.infer",
    ),
    "a role knows no other role; what two share is in loop or model": (
        "consumers/joiner/join.py",
        "def late() -> None: import consumers.predictor.predictor",
    ),
    "inside millstream the command line is above everything": (
        "millstream/status/report.py",
        "def late() -> None: import millstream.cli.shared_options",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("product")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_nothing_is_broken(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(BROKEN)} kept, 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("contract", "line"), [(contract, line) for contract, (_, *lines) in BROKEN.items() for line in lines]
)
def test_a_broken_contract_is_named(copy: Path, contract: str, line: str) -> None:
    name, *_ = BROKEN[contract]
    file = copy / name
    whole = file.read_text()
    file.write_text(f"{whole}\n\n{line}\n")
    try:
        done = lint(copy)
    finally:
        file.write_text(whole)
    assert done.returncode == 1, done.stdout
    assert f"{contract} BROKEN" in done.stdout
