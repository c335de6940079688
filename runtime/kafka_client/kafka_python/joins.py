"""Guard of kafka-python's joins: one that ends between two polls counts.

The client joins a group in its IO thread, and `poll` waits for the join as long as its timeout allows. If the join ends
after that, the next poll of kafka-python 3.0 forgets it and begins another. Where this member leads the group, the
group then rebalances again, and two members whose joins end in each other's polls never settle. And if only changed
metadata was the reason to join, that reason is gone once the leader has assigned: then no poll takes the join at all.
"""

from __future__ import annotations

from typing import Any

from kafka.structs import MemberState


def keep_joins(coordinator: Any) -> None:
    """Have the client's group coordinator code take a join that has ended, instead of joining again."""
    join, complete = coordinator._do_join_and_sync_async, coordinator._on_join_complete_async
    kept: list[tuple[Any, bytes]] = []  # the generation that a join gave, and the encoded assignment

    async def join_once() -> bytes:
        if kept and kept[0][0] is coordinator._generation and coordinator.state is MemberState.REBALANCING:
            return kept[0][1]
        kept.clear()
        coordinator.request_rejoin()  # until a poll has taken the join
        assignment: bytes = await join()
        kept.append((coordinator._generation, assignment))
        return assignment

    async def completed(*arguments: Any) -> None:
        kept.clear()
        await complete(*arguments)

    coordinator._do_join_and_sync_async = join_once
    coordinator._on_join_complete_async = completed
