"""`millstream tokens …`: create, list and revoke the tokens of callers over HTTP."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import HERE, Json, Where, at, print_json, print_table

if TYPE_CHECKING:
    from server.tokens.token_file import Token, TokenFile

app = cyclopts.App(name="tokens", help="Manage the tokens that callers over HTTP have.")

TokenName = Annotated[str, Parameter(name="NAME", help="Name of the token; decisions over HTTP are made in this name.")]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)


@app.command
def create(
    name: TokenName,
    /,
    *,
    scope: Annotated[
        str, Parameter(help="What it may do: predict, label, metric, upload, read, data, admin; several with commas.")
    ],
    expires: Annotated[
        str | None, Parameter(help="Time after which it is refused (90d, 12h) [default: it never expires].")
    ] = None,
    rate: Annotated[
        str | None,
        Parameter(help="Most requests a worker takes with it, for each s, m or h (200/s) [default: no limit]."),
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Create a token, and print it. It is shown this once; only its hash is stored.

    Running servers of this home take it within a second. Once there is a token, every request needs one, except for
    /livez and /readyz.

    Example: millstream tokens create web-shop --scope predict,label --expires 90d --rate 200/s
    """
    from millstream.stream.duration import milliseconds
    from millstream.versions.decisions import who
    from server.tokens.token_file import read_rate

    file = _file(where)
    text, token = file.create(
        name,
        [each.strip() for each in scope.split(",") if each.strip()],
        who(),
        lasts_ms=None if expires is None else milliseconds(expires),
        rate=None if rate is None else read_rate(rate),
    )
    if json:
        print_json({"token": text, **_plain(token, file)})
        return
    # The token alone goes to the standard output, for TOKEN=$(…).
    print(text)
    ends = "never expires" if token.expires is None else f"expires {at(token.expires)}"
    print(f"token {name} may {', '.join(token.scopes)}, and {ends}; it is not shown again", file=sys.stderr)
    print("send it as the header `Authorization: Bearer TOKEN`", file=sys.stderr)


@app.command(name="list")
def list_(*, where: Where = HERE, json: Json = False) -> None:
    """List the tokens: scopes, rate, expiry, latest use on this machine. The tokens themselves are not stored.

    Example: millstream tokens list
    """
    file = _file(where)
    rows = [_plain(each, file) for each in file.read()]
    if json:
        print_json(rows)
    elif not rows:
        print(f"there are no tokens in {file.folder}: servers listen on loopback alone, and take every request there")
    else:
        print_table(
            ("token", "id", "is", "scopes", "rate", "created", "expires", "last used"),
            [
                (
                    *(row["name"], row["id"], row["state"], ",".join(row["scopes"]), row["rate"]),
                    *(at(row["created"]), at(row["expires"]) or "never", at(row["last_used"])),
                )
                for row in rows
            ],
            spare=("created", "rate", "id"),
        )


@app.command
def revoke(name: TokenName, /, *, where: Where = HERE, json: Json = False) -> None:
    """Revoke a token. Running servers of this home refuse it within a second, also without Kafka.

    Example: millstream tokens revoke web-shop
    """
    file = _file(where)
    token = file.revoke(name)
    if json:
        print_json(_plain(token, file))
        return
    print(f"token {name} is revoked; servers on other machines need a copy of {file.path}")


def _file(where: Where) -> TokenFile:
    from server.tokens.token_file import TokenFile

    return TokenFile(where.settings().tokens)


def _plain(token: Token, file: TokenFile) -> dict[str, Any]:
    import time

    return {
        "name": token.name,
        "id": token.id,
        "state": token.state(time.time_ns() // 1_000_000),
        "scopes": list(token.scopes),
        "rate": None if token.rate is None else str(token.rate),
        "created": token.created,
        "by": token.by,
        "expires": token.expires,
        "revoked": token.revoked,
        "last_used": file.used_ms(token.id),
    }
