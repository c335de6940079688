"""Alert rules and targets in a stream file: what is refused, with which words, and what it does not change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from river import linear_model
from user_files import forgetful, write

from consumers.monitor.rules.condition import InvalidCondition, parse
from millstream import (
    Alertmanager,
    Checkpoints,
    InvalidStream,
    Notify,
    Pause,
    Retention,
    Retrain,
    Rollback,
    Rule,
    Source,
    Stream,
    Watch,
    Webhook,
)
from millstream.check.alert_checks import look_at_alerts
from millstream.cli import app
from millstream.stream.load import load_stream
from millstream.stream.notified_targets import target_of

__all__ = ["forgetful"]

NO_BASE64 = "begins with whsec_ and does not go on with base64"
OPS = Webhook("ops", url="https://example.com/hook", secret_env="OPS_SECRET")
ORDERS = Source(topic="orders", fields={"orders": "order.total"})


def stream(**more: Any) -> Stream:
    given = {"name": "fraud", "task": "binary", "model": linear_model.LogisticRegression}
    return Stream(**{**given, "features": {"amount": "number"}, **more})


REFUSED: list[tuple[Callable[[], object], str]] = [
    (Rule, r"Rule: when is missing"),
    (lambda: Rule("f1 < 0.7", "f1 > 0.8"), r"Rule: name what it is given, such as Rule\(clear=\.\.\.\)"),
    (lambda: Rule("f1 < 0.7", when="drift"), r"Rule: when= is given twice"),
    (lambda: Rule("f2 < 0.7"), r"when='f2 < 0\.7': there is no metric 'f2'; did you mean f1\?"),
    (lambda: Rule("speed < 1"), r"there is no metric 'speed'; there are accuracy, precision"),
    (lambda: Rule("f1"), r"compare f1 with a number, such as 'f1 > 0\.1'"),
    (lambda: Rule("f1 < low"), r"'low' is not a number"),
    (lambda: Rule("drift > 3"), r"drift is found or not"),
    (lambda: Rule("missing > 5%"), r"name the feature, such as 'missing\(amount\) > 5%'"),
    (lambda: Rule("f1(amount) < 1"), r"f1 is not of a feature"),
    (lambda: Rule("metric: < 1"), r"metric: needs a name"),
    (lambda: Rule("mae > 5%"), r"mae is not a share"),
    (lambda: Rule("f1 < 5m"), r"f1 is not a time"),
    (lambda: Rule("f1 < 70"), r"when='f1 < 70': f1 is a share from 0 to 1, such as 0\.05 or 5%"),
    (lambda: Rule("missing(amount) > 5"), r"missing is a share from 0 to 1"),
    (lambda: Rule("errors > 500%"), r"errors is a share from 0 to 1"),
    (lambda: Rule("f1 < 0.7", clear="f1 > 75"), r"clear='f1 > 75': f1 is a share from 0 to 1"),
    (lambda: Rule("mae < -1"), r"mae is never below 0"),
    (lambda: Rule(7), r"when=7 must be a text"),
    (lambda: Rule("f1 < 0.7", clear="f1 > 0.6"), r"on the wrong side of when='f1 < 0\.7': .* 'f1 > 0\.7'"),
    (lambda: Rule("f1 < 0.7", clear="f1 < 0.6"), r"on the wrong side"),
    (lambda: Rule("mae > 3", clear="mae < 4"), r"on the wrong side of when='mae > 3': .* 'mae < 3'"),
    (lambda: Rule("f1 <= 0.7", clear="f1 >= 0.7"), r"on the wrong side"),
    (lambda: Rule("f1 < 0.7", clear="recall > 0.9"), r"must be about f1"),
    (lambda: Rule("drift", clear="drift"), r"is for comparisons"),
    (lambda: Rule("drift", severity="bad"), r"severity='bad' must be one of info, warning, critical"),
    (lambda: Rule("drift", hold="soon"), r"hold='soon' is not a duration"),
    (lambda: Rule("f1 < 1", over=0), r"over=0 must be above 0"),
    (lambda: Rule("f1 < 1", least=-1), r"least=-1 must be a whole number, at least 0"),
    (lambda: Rule("drift", name="Bad name"), r"name='Bad name' must be 1 to 32 of"),
    (lambda: Rule("drift", do=Rollback()), r"must be a list"),
    (lambda: Rule("drift", do=["ops"]), r"must be Notify"),
    (lambda: Rule("drift", do=[Pause(), Pause("a")]), r"has an action twice"),
    (lambda: Rule("drift", do=[Retrain("A b")]), r"must name a model"),
    (lambda: stream(alerts=[Rule("mae > 1")]), r"mae is not for task='binary', which has accuracy, .* log_loss"),
    (lambda: stream(alerts=[Rule("missing(amout) > 1%")]), r"no feature 'amout' in features=; did you mean 'amount'\?"),
    (lambda: stream(alerts=[Rule("drift(age)")]), r"there is no feature 'age'"),
    (lambda: stream(alerts=[Rule("metric:orders < 1")]), r"no metric 'orders' in metrics_from=, which names no source"),
    (
        lambda: stream(alerts=[Rule("metric:order < 1")], metrics_from=[ORDERS]),
        r"no metric 'order' in metrics_from=; did you mean 'orders'\?",
    ),
    (
        lambda: stream(alerts=[Rule("f1 < 0.7", over="4m")]),
        r"when='f1 < 0\.7': over='4m' is shorter than a window of watch=Watch\(window='5m'\)",
    ),
    (lambda: stream(alerts=[Rule("drift", do=[Notify("ops")])]), r"Notify\('ops'\) names no target; notify= has"),
    (
        lambda: stream(alerts=[Rule("drift", do=[Notify("op")])], notify=[OPS]),
        r"Notify\('op'\) names no target; there are ops",
    ),
    (lambda: stream(alerts=[Rule("f1 < 0.7"), Rule("f1 < 0.5")]), r"two rules named 'f1' \('f1 < 0\.7', 'f1 < 0\.5'\)"),
    (lambda: stream(alerts=[Rule("drift", do=[Pause("forest")])]), r"there is no model 'forest'; there are main"),
    (lambda: stream(alerts=["drift"]), r"alerts='drift' must be Rule"),
    (lambda: stream(alerts=Rule("drift")), r"must be a list"),
    (lambda: stream(notify=[OPS, Webhook("ops", url="http://b")]), r"two targets 'ops'"),
    (lambda: stream(notify=["http://a"]), r"must be Webhook\(\.\.\.\) or Alertmanager"),
    (lambda: Webhook("ops"), r"ops needs url= or url_env=, and not both"),
    (lambda: Webhook("ops", url="ftp://a"), r"url= of ops must begin with http:// or https://"),
    (lambda: Webhook("ops", url="https://"), r"url= of ops names no host"),
    (lambda: Webhook("ops", url="https://u:p@a/"), r"must not hold a user or a password"),
    (lambda: Webhook("ops", url="https://a/b c"), r"without spaces"),
    (lambda: Webhook("ops", url="https://a:0/"), r"no valid port"),
    (lambda: Webhook("ops", url="https://a:99999/"), r"is not an address"),
    (lambda: Webhook("Ops!", url="https://a"), r"name='Ops!' must be 1 to 31 of"),
    (lambda: Webhook("ops", url="https://a", body="text"), r"body='text' must be a function"),
    (lambda: Alertmanager("am", url="https://a", alerts="some"), r"alerts='some' must be one of named, all"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InvalidStream, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_what_can_come_is_not_refused() -> None:
    """Names of metrics over HTTP are not known; findings of drift and the age of a model need no window."""
    orders = Rule("metric:orders < -5")
    assert stream(alerts=[orders], metrics_from=ORDERS).alerts == [orders]
    for unknown in ("http", [ORDERS, "http"], Source(topic="all")):
        assert stream(alerts=[Rule("metric:any < 1")], metrics_from=unknown)
    quick = [Rule("drift", over="1s"), Rule("model_age > 1h", over="1s"), Rule("f1 < 0.7", over="5m")]
    assert stream(alerts=quick)
    assert stream(alerts=[Rule("f1 <= 1", over="1m")], watch=Watch(window="30s"))


def test_a_secret_in_place_of_a_variable_is_not_shown() -> None:
    with pytest.raises(InvalidStream, match="must name an environment variable") as refused:
        Webhook("ops", url="https://a", secret_env="whsec_c2VjcmV0")
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f1<70%", "f1 < 0.7"),
        ("latency_p99 > 0.25s", "latency_p99 > 250 ms"),
        ("latency_p99 > 250", "latency_p99 > 250 ms"),
        ("latency_p99 > 0.25", "latency_p99 > 0.25 ms"),
        ("label_delay_p50 >= 90", "label_delay_p50 >= 1.5 min"),
        ("model_age > 1d", "model_age > 1 d"),
        ("missing(a > b) > 5 %", "missing(a > b) > 0.05"),
        ("metric:orders < 1e2", "metric:orders < 100"),
        (" drift(amount) ", "drift(amount)"),
    ],
)
def test_a_condition_is_read_with_its_units(text: str, said: str) -> None:
    assert str(parse(text)) == said


@pytest.mark.parametrize("text", ["", "<", "f1 <", "< 1", "f1 < 1 < 2", "f1 < 1%%", "drift()", "missing()", "f1 < inf"])
def test_a_broken_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidCondition):
        parse(text)


def test_a_rule_is_named_after_its_metric() -> None:
    rules = [Rule("drift"), Rule("missing(Card Type) > 1%"), Rule("metric:orders < 1"), Rule("f1 < 0.7", name="low")]
    assert [rule.alert for rule in rules] == [
        "monitor.drift",
        "monitor.missing-card-type",
        "monitor.metric-orders",
        "monitor.low",
    ]


def test_rules_do_not_change_what_a_version_is_made_of(tmp_path: Path, forgetful: None) -> None:
    body = """
from river import linear_model
from millstream import Notify, Rollback, Rule, Stream, Webhook
stream = Stream(name="s", task="binary", model=lambda: linear_model.LogisticRegression(){more})
"""
    more = ', alerts=[Rule("f1 < 0.7", do=[Notify("ops"), Rollback()])], notify=[Webhook("ops", url="http://a")]'
    hashes = []
    for folder, given in (("a", ""), ("b", more)):
        (tmp_path / folder).mkdir()
        hashes.append(load_stream(write(tmp_path / folder, body.format(more=given), "s.py")).definition)
    assert hashes[0] == hashes[1]


def test_a_rule_that_may_roll_back_keeps_a_version_of_each_day() -> None:
    plain = stream(watch=Watch(reference="36h"), checkpoints=Checkpoints(keep=Retention(latest_only=True)))
    rolls = stream(
        watch=Watch(reference="36h"),
        checkpoints=Checkpoints(keep=Retention(latest_only=True)),
        alerts=[Rule("drift", do=[Rollback()])],
    )
    assert plain.kept_versions.for_rollback == 0
    assert rolls.kept_versions == Retention(latest_only=True, for_rollback=3)
    assert stream(watch=Watch(reference="epoch 3"), alerts=rolls.alerts).kept_versions.for_rollback == 31
    slow = Rule("f1 < 0.7", over="10d", hold="12h", do=[Rollback()])
    assert stream(alerts=[slow, Rule("recall < 0.5", over="60d")]).kept_versions.for_rollback == 12


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('Rule("speed < 1")', "there is no metric 'speed'"),
        ('Rule("mae > 1")', "mae is not for task='binary'"),
        ('Rule("f1 < 0.7", clear="f1 > 0.6")', "on the wrong side"),
        ('Rule("drift", do=[Notify("op")])', "Notify('op') names no target"),
        ('Rule("drift", do=[Pause("forest")])', "there is no model 'forest'"),
        ('Rule("f1 < 0.7", over="1m", do=[Rollback()])', "over='1m' is shorter than a window"),
    ],
)
def test_check_refuses_a_bad_rule_in_one_line_with_its_place(
    rules: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"""
from river import linear_model
from millstream import Notify, Pause, Rollback, Rule, Stream
stream = Stream(name="s", task="binary", model=lambda: linear_model.LogisticRegression(), alerts=[{rules}])
"""
    file = write(tmp_path, body, "s.py")
    assert app.run(["check", file, "--home", str(tmp_path / "home"), "--bootstrap", "127.0.0.1:1"]) == 1
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert f"{file}:4: InvalidStream: " in error
    assert words in error


def test_check_names_targets_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPS_SECRET", raising=False)
    monkeypatch.setenv("BROKEN", "whsec_%%%")
    targets = [OPS, Webhook("b", url="http://a", secret_env="BROKEN", alerts="all"), Webhook("c", url="http://a")]
    found = list(look_at_alerts(stream(alerts=[Rule("drift", do=[Notify("ops")])], notify=targets)))
    assert [(each.severity, each.text.partition("; a notifier")[0]) for each in found] == [
        ("warning", "notify='ops': the environment variable OPS_SECRET is not set"),
        ("error", f"notify='b': the secret in the environment variable BROKEN {NO_BASE64}"),
        ("warning", "notify='c': no rule names it; add do=[Notify('c')], or alerts='all'"),
        ("warning", f"notify='c': {READ}"),
        ("warning", f"notify='c': {FORGED}"),
    ]


READ = "its address is http://, so alerts can be read on the way; use https://"
BEARER = "its address is http://, so its token can be read on the way; use https://"
FORGED = "nothing is signed, so anyone can forge an alert; add secret_env=, or url_env= if the address is a secret"


@pytest.mark.parametrize(
    ("target", "risks"),
    [
        (Webhook("a", url="https://a", secret_env="KEY"), []),
        (Webhook("a", url="http://a", secret_env="KEY"), [READ]),
        (Webhook("a", url="https://a"), [FORGED]),
        (Webhook("a", url_env="URL", body=dict), []),
        (Webhook("a", url_env="PLAIN"), [READ]),
        *[
            (Webhook("a", url=f"http://{host}:8/a", secret_env="KEY"), [])
            for host in ("localhost", "127.0.0.1", "[::1]")
        ],
        (Alertmanager("a", url="http://alertmanager:9093"), []),
        (Alertmanager("a", url="http://alertmanager:9093", token_env="KEY"), [BEARER]),
        (Alertmanager("a", url="https://alertmanager", token_env="KEY"), []),
    ],
)
def test_check_says_what_others_could_read_or_forge(
    target: Webhook | Alertmanager, risks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"KEY": "secret", "URL": "https://a/secret-path", "PLAIN": "http://b/secret-path"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = list(look_at_alerts(stream(alerts=[Rule("drift", do=[Notify("a")])], notify=[target])))
    assert [(each.severity, each.text.removeprefix("notify='a': ")) for each in found] == [
        ("warning", risk) for risk in risks
    ]


def test_addresses_and_secrets_come_from_the_environment_and_are_not_shown() -> None:
    environment = {"URL": "https://hooks.example.com/T0/secret-path", "KEY": "whsec_c2VjcmV0", "TOKEN": "abc"}
    hook = target_of(Webhook("a", url_env="URL", secret_env="KEY"), environment)
    manager = target_of(Alertmanager("b", url="http://am:9093/", token_env="TOKEN"), environment)
    assert (hook.url, hook.key) == ("https://hooks.example.com/T0/secret-path", b"secret")
    assert (manager.url, manager.token) == ("http://am:9093/api/v2/alerts", "abc")
    assert not any(each in f"{hook!r}{manager!r}" for each in ("secret-path", "c2VjcmV0", "abc", "b'secret'"))
    assert target_of(Webhook("a", url_env="NONE"), environment).problem == "the environment variable NONE is not set"
    bad = target_of(Webhook("a", url_env="KEY"), environment).problem
    assert bad == "the address in the environment variable KEY must begin with http:// or https://"
