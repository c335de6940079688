"""Files that a process has given up the right to read, in whatever way they are named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, subprocess, sys
from pathlib import Path
from runtime.unreadable_files import give_up_reading

here = Path(sys.argv[1])
key = here / "keys" / "signing.pem"
if not give_up_reading([key, here / "keys" / "next.pem"]):
    sys.exit(77)

def refused(act):
    try:
        act()
    except OSError:
        return True
    return False

(here / "state" / "new").write_text("new")
for path in (here / "keys" / "trusted", here / "config", here / "state" / "new", Path(os.__file__)):
    assert path.read_text(), path
ways = {
    "named": key.read_text,
    "around": (here / "state" / ".." / "keys" / "signing.pem").read_text,
    "by a link": (here / "link").read_text,
    "by the parent": Path(f"/proc/{os.getppid()}/root{key}").read_text,
    "by the parent's memory": lambda: open(f"/proc/{os.getppid()}/mem", "rb"),
    "linked": lambda: os.link(key, here / "state" / "linked"),
    "moved": lambda: os.rename(key, here / "state" / "moved"),
    "moved with its folder": lambda: os.rename(here / "keys", here / "state" / "keys"),
    "copied by the system": lambda: os.sendfile(1, os.open(key, os.O_RDONLY), 0, 100),
}
assert [name for name, act in ways.items() if not refused(act)] == []
assert subprocess.run(["cat", str(key)], capture_output=True, check=False).returncode == 1
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_a_key_is_out_of_reach_and_all_else_is_not(tmp_path: Path) -> None:
    for folder in ("keys", "state"):
        (tmp_path / folder).mkdir()
    for name in ("keys/signing.pem", "keys/trusted", "config"):
        (tmp_path / name).write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "keys" / "signing.pem")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no Landlock")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "keys" / "signing.pem").read_text() == "text"
