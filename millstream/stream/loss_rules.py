"""The loss of a stream's rule, as the referee and `millstream models compare` measure by it."""

from __future__ import annotations

from consumers.referee.losses import LossRule
from millstream.stream.competition import Cost, Promote
from millstream.stream.stream import Stream


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
