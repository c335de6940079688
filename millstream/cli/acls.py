"""`millstream topics acls`: the rights of each role on a cluster with access control."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from millstream.cli.shared_options import HERE, Json, StreamName, Where, load_named, print_json, print_table
from millstream.cli.topics import app

if TYPE_CHECKING:
    from millstream.topics.acls import Right


@app.command
def acls(
    stream: StreamName,
    /,
    *,
    role: Annotated[str | None, Parameter(help="Only this role.")] = None,
    print_: Annotated[
        Literal["kafka-acls"] | None, Parameter(name="--print", help="Print the commands that grant the rights.")
    ] = None,
    principal: Annotated[
        str, Parameter(help="Principal that gets the rights; {role} is replaced by the role.")
    ] = "User:{role}",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show the rights that each role needs on a cluster with access control. Does not contact the cluster.

    No role writes both labels and model updates.

    Example: millstream topics acls phishing --print kafka-acls --principal "User:millstream-{role}"
    """
    from millstream.cli.shared_options import UsageError
    from millstream.topics.acls import principals, rights

    every = principals()
    if role is not None and role not in every:
        raise UsageError(f"--role {role}: it is one of {', '.join(every)}")
    settings = where.settings()
    names = settings.names(load_named(stream, settings).stream)
    found = {each: rights(names, each) for each in every if role in (None, each)}
    if print_ is not None:
        for each, wanted in found.items():
            for right in wanted:
                print(_command(right, principal.replace("{role}", each), settings.bootstrap or "HOST:PORT"))
    elif json:
        print_json({each: [dataclasses.asdict(right) for right in wanted] for each, wanted in found.items()})
    else:
        print_table(
            ("role", "may", "of", "named"), [_row(each, one) for each, wanted in found.items() for one in wanted]
        )


def _row(role: str, right: Right) -> tuple[Any, ...]:
    return role, right.operation, right.resource, right.name + ("*" if right.prefixed else "")


def _command(right: Right, principal: str, bootstrap: str) -> str:
    words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", "--allow-principal", principal]
    words += ["--operation", right.operation, f"--{right.resource}", right.name]
    if right.prefixed:
        words += ["--resource-pattern-type", "prefixed"]
    return shlex.join(words)
