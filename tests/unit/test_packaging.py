"""What is installed is what is here: a package that pyproject.toml forgets is missing in every image."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_beside_the_code_is_installed() -> None:
    """An editable install finds a forgotten file all the same, an image does not."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    named = {
        path
        for package in settings["packages"]
        for pattern in (*settings["package-data"]["*"], *settings["package-data"].get(package, ()))
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    roots = {each.partition(".")[0] for each in settings["packages"]}
    there = {path for root in roots for path in (ROOT / root).rglob("*") if path.is_file()}
    assert {path for path in there if path.suffix not in (".py", ".pyc")} == named


def test_a_checkout_and_the_image_have_both_kafka_clients() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [each.partition(">")[0] for each in project["optional-dependencies"]["fast"]] == ["confluent-kafka"]
    for lock in ("install", "runtime"):
        locked = {line.split("==")[0] for line in (ROOT / "requirements" / f"{lock}.lock").read_text().splitlines()}
        assert {"kafka-python", "confluent-kafka"} <= locked, lock


def test_every_package_is_installed() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    roots = {each.partition(".")[0] for each in named}
    there = {
        ".".join(path.parent.relative_to(ROOT).parts) for root in roots for path in (ROOT / root).rglob("__init__.py")
    }
    assert there == set(named)


def test_the_image_is_built_from_every_package() -> None:
    """Docker gets only what .dockerignore lets through."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {each.partition(".")[0] for each in packages} <= let_through
