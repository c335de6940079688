"""The rule and the loss of a stream, as the referee and `millstream models compare` use them."""

from __future__ import annotations

from consumers.referee.losses import LossRule
from consumers.referee.rule import GuardRule, Rule
from millstream.stream.competition import Cost, Promote
from millstream.stream.duration import milliseconds
from millstream.stream.stream import Stream
from schemas.model_names import model_id


def loss_rule(stream: Stream) -> LossRule | None:
    """Return the loss that a stream's models are compared by: that of `promote`, else the share of wrong classes.

    It is `None` where a regression or an anomaly detection names none, because no loss has a bound there by itself.
    """
    if stream.promote is None and stream.task in ("regression", "anomaly"):
        return None
    promote = stream.promote or Promote()
    loss, target = promote.loss, stream.target
    if isinstance(loss, Cost):
        return LossRule(target, "cost", false_positive=loss.false_positive, false_negative=loss.false_negative)
    if isinstance(loss, str):
        return LossRule(target, loss, most=promote.most)
    return LossRule(target, "function", most=promote.most, function=loss)


def promotion_rule(stream: Stream) -> Rule | None:
    """Return the rule by which a stream's models are promoted, `None` if only people promote them."""
    return None if stream.promote is None else comparing_rule(stream)


def comparing_rule(stream: Stream) -> Rule | None:
    """Return the rule of a stream, or the default one; `None` without a loss. Models are compared by its bounds."""
    promote, loss = stream.promote or Promote(), loss_rule(stream)
    if loss is None:
        return None
    wait, guard = stream.labels.wait_ms, promote.guard
    settle = promote.settle_ms(wait)
    return Rule(
        models=(stream.name, *(model_id(stream.name, name) for name in stream.named if name in stream.asked)),
        loss=loss,
        at_least=promote.at_least,
        alpha=promote.alpha,
        labels=promote.labels,
        contest_ms=promote.contest_ms,
        settle_ms=settle,
        wait_ms=wait,
        guard=GuardRule(guard.at_least, settle if guard.settle is None else milliseconds(guard.settle), guard.errors),
    )
