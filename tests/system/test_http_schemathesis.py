"""Requests that Schemathesis makes from /openapi.json, valid and invalid, to all endpoints of server and console."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from system.http_server import FLOW
from system.oracle import Stream
from system.serving_rig import Serving, serving

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
MOST = 10_000
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
_SECONDS = 60
_WAIT = re.compile(r"\d+(?:\.\d+)?(?:ms|s|m|h|d)")


@pytest.fixture(scope="module")
def at(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("schema")
    stream = Stream(str(FLOW), bootstrap, f"sch-{secrets.token_hex(4)}-", folder / "home")
    with serving(stream, folder) as found:
        yield found
        found.check()


def check(operation: APIOperation, mode: GenerationMode, base: str, examples: int, seen: dict[int, int]) -> None:
    """Send requests of one endpoint; each is answered, and by no 5xx but 503."""
    with requests.Session() as session:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=examples < 10,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def sent(case: schemathesis.Case) -> None:
            if _WAIT.fullmatch(str((case.query or {}).get("wait", ""))):
                case.query["wait"] = "1ms"  # up to 30 s each
            response = case.call(base_url=base, session=session, timeout=_SECONDS)
            seen[response.status_code] = seen.get(response.status_code, 0) + 1
            assert response.status_code < 500 or response.status_code == 503, (
                f"{case.as_curl_command()}: {response.text}"
            )
            assert '"internal"' not in response.text, f"{case.as_curl_command()}: {response.text}"

        sent()


def test_no_request_that_the_schema_suggests_breaks_anything(at: Serving, rounds: Callable[[int, int], int]) -> None:
    schema = schemathesis.openapi.from_dict(httpx.get(f"{at.base}/openapi.json").json())
    found = [each.ok() for each in schema.get_all_operations()]
    paths = {each.path for each in found}
    assert {"/v1/predict", "/v2/models/{model}/infer", "/v1/uploads", "/v1/pin", "/v1/events/{id}"} <= paths
    seen: dict[int, int] = {}
    wanted = rounds(60, MOST)
    while sum(seen.values()) < wanted:
        for operation, mode in itertools.product(found, MODES):
            of_console = operation.base_url.rstrip("/").endswith(":8081")
            base = f"http://127.0.0.1:{at.console if of_console else at.port}"
            with suppress(Unsatisfiable):  # an endpoint without parameters and body has no invalid request
                check(operation, mode, base, max(2, wanted // (len(found) * len(MODES))), seen)
    assert 200 in seen
    assert 400 in seen
    print(f"{sum(seen.values())} requests: {seen}")
