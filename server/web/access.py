"""Access of callers: the tokens that requests carry, their scopes and their rates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Final, Protocol

from server.tokens.token_file import Rate, Token, TokenFile, TokenFileProblem
from server.tokens.token_text import hash_of, id_of
from server.web.messages import ANY, ANYONE, Caller, HttpError

_LOOK_S: Final = 0.25
"""Seconds after which a change of the file is noticed; a second is promised."""
_NOTE_S: Final = 60.0
_NO_HASH: Final = bytes(32)
_SCHEME: Final = "bearer "
_REALM: Final = 'Bearer realm="millstream"'


class _HasHeaders(Protocol):
    @property
    def headers(self) -> Any: ...


class Bucket:
    """A token bucket: lets in as many requests at once as the rate has in its span, and then as they refill."""

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._each_s = rate.seconds / rate.requests
        self._full = float(rate.requests)
        self._left, self._at = self._full, now

    def wait(self, now: float) -> float:
        """Take one; return 0.0, or the seconds until there is one.

        >>> bucket = Bucket(Rate(2, 1), now=0.0)
        >>> [bucket.wait(at) for at in (0.0, 0.0, 0.0, 0.5, 0.5)]
        [0.0, 0.0, 0.5, 0.0, 0.5]
        """
        left = min(self._full, self._left + (now - self._at) / self._each_s)
        self._at = now
        if left < 1.0:
            self._left = left
            return (1.0 - left) * self._each_s
        self._left = left - 1.0
        return 0.0


@dataclass(slots=True)
class _Holder:
    """A token, ready to be compared."""

    caller: Caller
    id: str
    hash: bytes
    expires_s: float
    bucket: Bucket | None
    note_at: float = 0.0


class Access:
    """Lets requests in by the tokens of a file, and follows changes of that file.

    Parameters
    ----------
    file
        `None` lets everyone in.
    required
        Ask for tokens even if there are none, because other machines can reach this server. Otherwise everyone is let
        in until there is a token; from then on tokens are required, also after the file is gone.
    say
        Prints one line for the operator.

    Raises
    ------
    TokenFileProblem
        If the file cannot be read at first. Later, what was read before holds on.
    """

    def __init__(
        self,
        file: TokenFile | None = None,
        *,
        required: bool = False,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._say, self._clock = file, say, clock
        self._holders: Mapping[str, _Holder] | None = {} if required else None
        self._stamp: tuple[int, ...] | None = None
        self._look_at = math.inf
        if file is not None:
            self._stamp = file.stamp()
            self._take(file.read(), clock())
            self._look_at = clock() + _LOOK_S

    def require(self, request: _HasHeaders, scope: str | None) -> Caller:
        """Return who asks. Every request passes here: it costs a hash and a look-up.

        Parameters
        ----------
        scope
            Scope that the token must have; `ANY` for any token, `None` if none is needed.

        Raises
        ------
        HttpError
            401 without a valid token, 403 if it lacks the scope, 429 beyond its rate.
        """
        if scope is None:
            return ANYONE
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        if self._holders is None:
            return ANYONE
        holder = self._holder(request.headers.get("authorization"))
        if time.time() >= holder.expires_s:
            raise _refused("expired", f"the token {holder.caller.name} has expired", ', error="invalid_token"')
        if holder.bucket is not None and (wait := holder.bucket.wait(now)) > 0.0:
            said = f"more than {holder.bucket.rate} with the token {holder.caller.name}"
            raise HttpError(429, "rate", said, (("retry-after", str(math.ceil(wait))),))
        caller = holder.caller
        if scope not in caller.scopes and scope != ANY:
            said = f"the token {caller.name} has the scopes {', '.join(caller.scopes)}; {scope} is needed"
            challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
            raise HttpError(403, "scope", said, (("www-authenticate", challenge),))
        if now >= holder.note_at and self._file is not None:
            holder.note_at = now + _NOTE_S
            self._file.note_use(holder.id)
        return caller

    def _holder(self, presented: str | None) -> _Holder:
        """Return the holder of a token. An unknown token and a wrong one get the same answer, after the same work."""
        if presented is None:
            raise _refused("token", "a token is needed: `Authorization: Bearer ms_…`", "")
        token = presented[len(_SCHEME) :].strip(" ") if presented[: len(_SCHEME)].lower() == _SCHEME else ""
        holder = (self._holders or {}).get(id_of(token))
        if not compare_digest(hash_of(token), _NO_HASH if holder is None else holder.hash) or holder is None:
            raise _refused("token", "the token is none that is valid here", ', error="invalid_token"')
        return holder

    def _look(self, now: float) -> None:
        """Read the file again if it has changed."""
        assert self._file is not None  # noqa: S101 - without a file, nobody looks
        self._look_at = now + _LOOK_S
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._take(self._file.read(), now)
        except TokenFileProblem as error:
            self._say(f"{error}; the tokens that were read before hold on")

    def _take(self, tokens: tuple[Token, ...], now: float) -> None:
        if not tokens and self._holders is None:
            return
        before = self._holders or {}
        self._holders = {each.id: _holder(each, before.get(each.id), now) for each in tokens if each.revoked is None}


def _holder(token: Token, before: _Holder | None, now: float) -> _Holder:
    bucket = None if before is None else before.bucket
    if token.rate is None:
        bucket = None
    elif bucket is None or bucket.rate != token.rate:
        bucket = Bucket(token.rate, now)
    expires_s = math.inf if token.expires is None else token.expires / 1000
    caller = Caller(token.name, frozenset(token.scopes))
    return _Holder(
        caller, token.id, bytes.fromhex(token.sha256), expires_s, bucket, 0.0 if before is None else before.note_at
    )


def _refused(code: str, message: str, why: str) -> HttpError:
    return HttpError(401, code, message, (("www-authenticate", f"{_REALM}{why}"),))
