"""Which process this is: names from flag, hostname or file, and one process a name on a machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millstream.config.instance_id import InstanceTaken, InvalidInstance, StateUnwritable, claim, resolve


def test_the_flag_is_over_the_hostname_and_that_over_the_file(tmp_path: Path) -> None:
    assert resolve("joiner", "b", tmp_path, hostname="joiner-3") == "b"
    assert resolve("joiner", None, tmp_path, hostname="joiner-03") == "3"
    kept = resolve("joiner", None, tmp_path, hostname="laptop")
    assert resolve("joiner", None, tmp_path, hostname="laptop") == kept
    assert (tmp_path / "joiner.instance").read_text() == kept


def test_a_container_whose_name_ends_in_a_digit_has_no_ordinal(tmp_path: Path) -> None:
    assert resolve("joiner", None, tmp_path, hostname="3f9a0c12d4e7") != "7"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "a_b", "-a", "a" * 32, "a\n", "ü", "..", "%2e", "a\0"])
def test_an_instance_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInstance, match="--instance"):
        resolve("joiner", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_of_the_name_is_told_the_first_ones_pid(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from millstream.config.instance_id import claim\n"
        "held = claim('joiner', '0', Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InstanceTaken, match=rf"process {other.pid}\)") as caught:
            claim("joiner", "0", tmp_path)
        assert caught.value.exit_code == 75
        with claim("joiner", "1", tmp_path), claim("predictor", "0", tmp_path):
            other.kill()
            other.wait()
    # The kernel lets go of a killed process's name.
    with claim("joiner", "0", tmp_path) as mine:
        assert mine.instance == "0"


def test_a_state_folder_that_cannot_be_written_is_one_line_and_starting_again_may_help(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for given in ("0", None):
        with pytest.raises(StateUnwritable, match=r"/file.* cannot be written: Not a directory\. Free space") as failed:
            claim("joiner", given, tmp_path / "file" / "state")
        assert failed.value.exit_code == 75
