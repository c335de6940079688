"""Tokens for SASL/OAUTHBEARER from the user's own code, named as ``module:object``."""

from __future__ import annotations

import base64
import importlib
import json
import math
import time
from typing import Any, Final

from kafka.net.sasl.oauth import AbstractTokenProvider

_LONGEST_REASON = 200
_UNKNOWN_LIFETIME_S: Final = 60.0
_SHORTEST_LIFETIME_S: Final = 10.0


class TokenError(Exception):
    """The provider gives no token; the message names it, and what it did instead."""


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """The client's token provider: it calls the user's provider, and keeps the last error.

    Parameters
    ----------
    name
        For messages.
    given
        Has `token()`, which returns a string, and may have `extensions()`, which returns a dictionary of strings.
    """

    def __init__(self, name: str, given: Any) -> None:
        super().__init__()
        self._name = name
        self._given = given

    def token(self) -> str:
        """Return a currently valid token. Raises TokenError if there is none."""
        try:
            token = self._given.token()
        except Exception as error:
            raise TokenError(f"the token provider {self._name} raised {_told(error)}") from error
        if not isinstance(token, str) or not token:
            # The message gives only the type: the value may be a token, as bytes.
            kind = type(token).__name__ if token != "" else "an empty text"
            raise TokenError(f"the token provider {self._name} returned {kind}: token() must return a text")
        return token

    def expires(self, token: str) -> float:
        """Return when another token is needed, in seconds since 1970.

        It is the claim `exp` of a JWT, and in 60 s for any other token. At the earliest it is in 10 s: the broker
        rejects an expired token with a reason; a client that finds it expired does not ask the broker.
        """
        now = time.time()
        expiry = _claimed_expiry(token)
        return now + _UNKNOWN_LIFETIME_S if expiry is None else max(expiry, now + _SHORTEST_LIFETIME_S)

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions sent with the token."""
        extensions = getattr(self._given, "extensions", None)
        return dict(extensions()) if callable(extensions) else {}


def load_token_provider(name: str) -> TokenProvider:
    """Return the provider that ``module:object`` names: an object with a method `token`, or a factory of one.

    Raises
    ------
    TokenError
        If there is no such provider; the message says what is missing.
    """
    module, _, path = name.partition(":")
    if not module or not path:
        raise TokenError("must be written module:object, such as mycompany.kafka_tokens:provider")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = "" if error.name == module else f" (it imports {error.name})"
        raise TokenError(
            f"names {module}, which cannot be imported{missing}: install it, or put its folder on PYTHONPATH"
        ) from error
    except Exception as error:
        raise TokenError(f"names {module}, and importing it raised {_told(error)}") from error
    for each in path.split("."):
        if not hasattr(found, each):
            raise TokenError(f"names {name}, but {module} has no {path}")
        found = getattr(found, each)
    return TokenProvider(name, _made(name, found))


def _made(name: str, found: Any) -> Any:
    """Return the provider itself, made by calling a class or a function."""
    if isinstance(found, type) or (callable(found) and not callable(getattr(found, "token", None))):
        try:
            found = found()
        except Exception as error:
            raise TokenError(f"names {name}, and calling it raised {_told(error)}") from error
    if not callable(getattr(found, "token", None)):
        raise TokenError(f"names {name}, which neither has a method token() nor returns what has one")
    return found


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_LONGEST_REASON]}" if text else type(error).__name__


def _claimed_expiry(token: str) -> float | None:
    """Return a JWT's claim `exp`; `None` if the token is not a JWT, or has no such claim."""
    _, _, rest = token.partition(".")
    part = rest.partition(".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(expiry, bool) or not isinstance(expiry, (int, float)) or not math.isfinite(expiry):
        return None
    return float(expiry)
