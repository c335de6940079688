"""What is said of an example that was refused, broke the model, or is as if it had never been."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from simulation.test_rebuild import EXAMPLES, Shop, example

from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.model.log_edits import digest
from consumers.model.version_runtime import RunWith
from millstream.versions.example_history import ExampleHistory
from model_store import Retention
from schemas.events import Example

REFUSED, POISON, FORGOTTEN, PLAIN = 12, 20, 31, 40


def strange(number: int, value: Any) -> Example:
    plain = example(number, number)
    features = {**plain.event.features, "a": value}
    return msgspec.structs.replace(plain, event=msgspec.structs.replace(plain.event, features=features))


def fates(shop: Shop, number: int) -> list[tuple[int, str]]:
    """Return epoch and fate of the n-th event, whose first example stands at offset n."""
    records = [each for each in shop.log.read(EXAMPLES) if each.offset == number]
    history = ExampleHistory(shop.store, "sim", shop.log.ids[EXAMPLES], lambda manifest: RunWith())
    found = history.fates(records)
    assert all(each.version.offset > number for each in found)
    return [(each.version.version.epoch, each.how) for each in found]


def learned() -> Shop:
    shop = Shop()
    shop.learn()
    shop.write(*(example(n, n) for n in range(REFUSED)), strange(REFUSED, math.inf))
    shop.write(*(example(n, n) for n in range(REFUSED + 1, POISON)), strange(POISON, "a text"))
    shop.write(*(example(n, n) for n in range(POISON + 1, 60)))
    shop.learn()
    return shop


def test_what_the_rules_refused_and_what_broke_the_model_was_not_learned() -> None:
    shop = learned()
    assert fates(shop, PLAIN) == [(1, "learned")]
    assert fates(shop, REFUSED) == [(1, "refused")]
    assert fates(shop, POISON) == [(1, "broke the model")]
    shop.write(example(60, 60))
    assert fates(shop, 60) == [], "no version has read it"


def test_what_a_version_was_made_anew_without_is_told_for_its_epoch() -> None:
    shop = learned()
    rebuilt = shop.rebuild(without=[digest(f"e{FORGOTTEN}")])
    epoch = rebuilt.made.version.epoch
    assert fates(shop, FORGOTTEN) == [(1, "learned"), (epoch, "left out")]
    assert fates(shop, PLAIN) == [(1, "learned"), (epoch, "learned")]
    assert fates(shop, REFUSED) == [(1, "refused"), (epoch, "refused")]
    assert fates(shop, POISON) == [(1, "broke the model"), (epoch, "broke the model")]


def test_an_epoch_that_began_behind_it_with_nothing_learned_says_nothing_of_it() -> None:
    shop = learned()
    shop.checkpoints = LearnerCheckpoints(shop.store, Definition("sim", "another", "c"), shop.rules, Retention(last=50))
    shop.learn(new_epoch="fresh")
    shop.write(*(example(n, n) for n in range(60, 70)))
    shop.learn()
    assert fates(shop, PLAIN) == [(1, "learned")]
    assert fates(shop, 65) == [(2, "learned")]
