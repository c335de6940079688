"""Limits of a contract: they count what it keeps."""

from __future__ import annotations

import pytest
from river import linear_model

from millstream import Stream, Validation
from millstream.stream.errors import InvalidStream
from schemas.contract import Contract, ContractError, Feature
from schemas.events import Features

WIDE: Features = {f"s{n}": 0.5 for n in range(1_200)} | {"a": 1.0, "b": 2.0}


def test_columns_that_the_contract_drops_do_not_count() -> None:
    contract = Contract(features={"a": Feature(), "b": Feature()})
    assert contract.apply(WIDE) == {"a": 1.0, "b": 2.0}
    assert contract.apply({"a": 1.0, "x" * 300: 1.0}) == {"a": 1.0}


@pytest.mark.parametrize("contract", [Contract(), Contract(features={"a": Feature()}, unknown="keep")])
def test_an_event_that_keeps_too_much_is_refused_with_the_way_out(contract: Contract) -> None:
    with pytest.raises(ContractError, match=r"1202 features; at most 1000 are taken: .*max_features="):
        contract.apply(WIDE)


def test_values_that_are_no_numbers_count_the_same() -> None:
    with pytest.raises(ContractError, match="at most 1000"):
        Contract().apply(WIDE | {"text": "x"})


def test_a_stream_sets_the_limit() -> None:
    stream = Stream(
        name="wide", task="binary", model=linear_model.LogisticRegression, validation=Validation(max_features=1_500)
    )
    assert stream.contract.apply(WIDE) == WIDE
    assert Stream(name="wide", task="binary", model=linear_model.LogisticRegression).contract == Contract()
    with pytest.raises(InvalidStream, match="max_features=0 must be a whole number, at least 1"):
        Stream(name="wide", task="binary", model=linear_model.LogisticRegression, validation=Validation(max_features=0))


def test_a_contract_has_the_hash_that_stored_versions_have() -> None:
    """A limit that is given as it is by default is no other contract; nor is the number another object."""
    plain = Contract(features={"a": Feature()})
    assert plain.fingerprint().startswith("3cf1283e")
    assert Contract(features={"a": Feature()}, max_features=int("1000")).fingerprint() == plain.fingerprint()
    stream = Stream(name="m", task="binary", model=linear_model.LogisticRegression, features={"a": "number"})
    assert stream.contract.fingerprint() == plain.fingerprint()
    assert Contract(features={"a": Feature()}, max_features=1001).fingerprint() != plain.fingerprint()
