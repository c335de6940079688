"""What several threads decode for the first time at once: msgspec 0.22 crashes where it learns the type then."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_RACE = """
import importlib, sys, threading
from model_store import manifest

sys.setswitchinterval(1e-6)
data = b'{"files":{"m":{"sha256":"x","size":1}},"format":1,"metrics":{"a":1},"parent":[1,2],"version":[1,2]}'

def decode(meet):
    meet.wait()
    try:
        manifest.decode_manifest(data)
    except manifest.Damaged:
        pass

for _ in range(40):
    importlib.reload(manifest)
    meet = threading.Barrier(8)
    threads = [threading.Thread(target=decode, args=(meet,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("alive")
"""


def test_threads_that_read_their_first_manifest_at_once_do_not_crash() -> None:
    done = subprocess.run([sys.executable, "-c", _RACE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-500:]


def test_no_type_of_ours_is_learned_at_its_first_decoding() -> None:
    """Each has a decoder that was made while its module was imported."""
    packages = ("runtime", "schemas", "model_store", "consumers", "producers", "server", "millstream")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 100
    late = re.compile(r"msgspec\.(?:json|msgpack)\.decode\([^\n]*type=(?!list\[|dict\[str, Any\])|msgspec\.convert\(")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if late.search(line)
    ]
    assert found == []
