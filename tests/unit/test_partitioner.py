"""The partition of a key is Kafka's own, whichever library computes it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2

from runtime.kafka_client.partitioner import hashed, hashed_in_python

KEYS = st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))


def of_kafka_python(key: bytes, partitions: int) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


@given(st.lists(KEYS, min_size=50, max_size=400), st.integers(1, 2**31 - 1))
@example([b"", b"\xff" * 7, "ключ".encode(), *[bytes([200 + length]) * length for length in range(41)]], 2**31 - 1)
def test_all_three_agree_on_every_key(keys: list[bytes], partitions: int) -> None:
    expected = [of_kafka_python(key, partitions) for key in keys]
    assert [hashed(key, partitions) for key in keys] == expected
    assert [hashed_in_python(key, partitions) for key in keys] == expected


def test_twenty_thousand_keys_are_spread_the_same() -> None:
    keys = [f"{number}-клиент-{number**5}".encode()[: number % 41] for number in range(20_000)]
    assert {len(key) for key in keys} == set(range(41))
    expected = [of_kafka_python(key, 12) for key in keys]
    assert [hashed(key, 12) for key in keys] == [hashed_in_python(key, 12) for key in keys] == expected


def test_it_is_in_c_where_confluent_kafka_is_installed() -> None:
    library = pytest.importorskip("confluent_kafka")
    assert hashed is library.murmur2


def test_without_confluent_kafka_it_is_in_python() -> None:
    lines = [
        "import sys",
        "sys.modules['confluent_kafka'] = None",  # as if it were not installed
        "from runtime.kafka_client.partitioner import hashed, hashed_in_python",
        "assert hashed is hashed_in_python",
        "print(hashed(b'e1', 6))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
