"""The page ``/docs``: all endpoints, readable without scripts and without anything from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from itertools import groupby
from typing import Final

import msgspec

from consumers.roles import CONSOLE, SERVER
from server.openapi.document import ERRORS, errors_of
from server.openapi.endpoint import Content, Endpoint, Parameter
from server.openapi.endpoints import described_by
from server.openapi.schemas import schemas_of

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1c2430; --soft: #566072; --back: #fff; --card: #f5f7fa; --line: #d8dee8;
  --mark: #0b5cad; --code: #eceff4; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ef; --soft: #a2adbf; --back: #12161c; --card: #1b212a;
  --line: #333d4b; --mark: #7ab8ff; --code: #262e3a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1rem 4rem; color: var(--text); background: var(--back);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 1rem 0 .2rem; color: var(--soft); font-weight: 600; }
a { color: var(--mark); }
code, pre { font: .875em/1.5 ui-monospace, Menlo, Consolas, monospace; background: var(--code); border-radius: 4px; }
code { padding: .1em .3em; } pre { padding: .7rem .8rem; overflow-x: auto; white-space: pre-wrap; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
details { border: 1px solid var(--line); border-radius: 8px; background: var(--card); margin: .5rem 0; }
summary { padding: .6rem .8rem; cursor: pointer; } summary p { margin: .3rem 0 0; color: var(--soft); }
details > div { padding: 0 .8rem .8rem; border-top: 1px solid var(--line); }
.method { display: inline-block; min-width: 4.2rem; font-weight: 700; color: var(--mark); font-size: .85rem; }
.scope { color: var(--soft); font-size: .85rem; margin-left: .5rem; white-space: nowrap; }
dl { display: grid; grid-template-columns: minmax(6rem, 14rem) 1fr; gap: .25rem .9rem; margin: .2rem 0; }
dl.statuses { grid-template-columns: 3rem 1fr; } dt { font-weight: 600; } dd { margin: 0; }
@media (max-width: 30rem) { dl.names { grid-template-columns: 1fr; gap: 0; } dl.names dd { margin: 0 0 .5rem; } }
"""
STYLE_HASH: Final = f"sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}"
"""Source expression of a content security policy that allows the page's style, and no other."""
_TITLES: Final = {SERVER: "answers over HTTP", CONSOLE: "the console"}
_CODE: Final = re.compile(r"`([^`]+)`")


def page(stream: str, release: str, role: str = SERVER) -> str:
    """Return the page for the server of a stream, or for its console."""
    endpoints = described_by(role)
    groups = [(name, list(some)) for name, some in groupby(endpoints, lambda each: each.group)]
    title = f"{stream}: {_TITLES[role]}"
    links = "".join(f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>' for name, _ in groups)
    parts = "".join(_group(name, some, stream, role) for name, some in groups)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>Millstream {escape(release)}. The same as OpenAPI 3.1: "
        '<a href="/openapi.json">/openapi.json</a>. With tokens, send <code>Authorization: Bearer …</code>; the scope '
        "that an endpoint needs is beside it.</p>"
        f'<nav aria-label="Groups of endpoints"><ul>{links}<li><a href="#schemas">Schemas</a></li></ul></nav>'
        f"<main>{parts}{_schemas(endpoints)}</main></body></html>"
    )


def _group(name: str, some: Iterable[Endpoint], stream: str, role: str) -> str:
    where = "<p>On the console's port, 8081 by default.</p>" if name == "Console" and role != CONSOLE else ""
    return f'<h2 id="{_anchor(name)}">{escape(name)}</h2>{where}' + "".join(_endpoint(each, stream) for each in some)


def _endpoint(each: Endpoint, stream: str) -> str:
    scope = "no token" if each.scope is None else f"scope {each.scope}"
    path = each.path.replace("{model}", stream)
    return (
        f'<details><summary><span class="method">{each.method.upper()}</span> <code>{escape(path)}</code>'
        f'<span class="scope">{scope}</span><p>{_text(each.says)}</p></summary><div>'
        f"{_parameters(each.parameters)}{_body(each)}{_responses(each)}</div></details>"
    )


def _parameters(parameters: Iterable[Parameter]) -> str:
    rows = "".join(
        f"<dt>{escape(each.name)}</dt><dd>{each.place}: {_text(each.says)}</dd>"
        for each in parameters
        if each.name != "model"
    )
    return f'<h3>Parameters</h3><dl class="names">{rows}</dl>' if rows else ""


def _body(each: Endpoint) -> str:
    if not each.takes:
        return ""
    example = "" if each.example is None else f"<pre>{escape(msgspec.json.encode(each.example).decode())}</pre>"
    return f"<h3>Body</h3><p>{_contents(each.takes)}</p>{example}"


def _contents(content: Content) -> str:
    return ", ".join(
        f"<code>{escape(media)}</code>"
        + (f' <a href="#schema-{escape(schema)}">{escape(schema)}</a>' if schema not in ("", "Object") else "")
        for media, schema in content.items()
    )


def _responses(each: Endpoint) -> str:
    good = "".join(
        f"<dt>{status}</dt><dd>{_text(answer.says)} {_contents(answer.content)}</dd>"
        for status, answer in each.answers.items()
    )
    bad = "".join(f"<dt>{status}</dt><dd>{_text(ERRORS[status])}</dd>" for status in errors_of(each))
    return f'<h3>Responses</h3><dl class="statuses">{good}{bad}</dl>'


def _schemas(endpoints: Iterable[Endpoint]) -> str:
    shown = "".join(
        f'<details><summary><code>{name}</code></summary><div id="schema-{name}"><pre>'
        f"{escape(msgspec.json.format(msgspec.json.encode(schema)).decode())}</pre></div></details>"
        for name, schema in schemas_of(name for each in endpoints for name in each.schemas).items()
        if name != "Object"
    )
    return f'<h2 id="schemas">Schemas</h2>{shown}'


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower())


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
