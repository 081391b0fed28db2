"""Choose the tools that stand beside the right ones: near misses, none of which could do their work."""

from collections.abc import Callable, Sequence

from flanlib.lab.tools import LabTool
from flanlib.lab.words import Draw

# In what a tool that is not needed comes near one that is: things, operation or parameters; drawn evenly.
_SAME: tuple[Callable[[LabTool, LabTool], bool], ...] = (
    *[lambda a, b: a.domain is b.domain] * 4, *[lambda a, b: a.verb == b.verb] * 4,
    lambda a, b: not set(a.slots.values()).isdisjoint(b.slots.values()))
_NEAR = (*_SAME, lambda a, b: True)

# What else does the work of an operation, alone, about the same attribute. A total of one thing is a look-up; where
# the group is known, a limit that rises or every choice in turn finds each thing's value, and so the ends of a ranking.
_ALONE = {"lookup": {"total", "above", "match"}, "total": {"lookup", "above", "match"}, "extreme": {"rank", "above"},
          "rank": {"extreme", "above"}}
_LISTERS = {"list", "above", "match"}  # a limit below all, or every choice in turn, lists a whole group
_TELLERS = {"lookup", "total"}


def can_do(tools: Sequence[LabTool], tool: LabTool) -> bool:
    """Tell whether tools could do the work of another, one of them or several together, in however many calls.

    The other one among them counts too. Where it takes a group that a request may not name, it still counts.
    """
    if tool.verb == "convert":  # the one operation that is not about the things of a table
        return any(t.verb == "convert" and set(t.domain.convert[:2]) == set(tool.domain.convert[:2]) for t in tools)
    same = [t for t in tools if t.domain is tool.domain]
    about = {t.verb for t in same if t.attribute == tool.attribute}
    lists = any(t.verb in _LISTERS for t in same)
    if tool.verb in {"list", "count"}:
        return lists or tool.verb in about
    together = tool.verb in {"extreme", "rank", "above", "match"} and lists and bool(about & _TELLERS)
    return together or not about.isdisjoint({tool.verb} | _ALONE.get(tool.verb, set()))


def offer(right: Sequence[LabTool], others: Sequence[LabTool], size: int, draw: Draw) -> list[LabTool]:
    """Offer ``size`` tools, shuffled: the right ones and near misses out of ``others``, which hold the right ones too.

    No near miss could take part in the work of a right one.
    """
    offered = list(right)
    while len(offered) < size:
        near, one = draw.one(_NEAR), draw.one(right)
        tool = draw.one([tool for tool in others if near(tool, one)])
        if tool not in offered and not any(can_do([t for t in (*offered, tool) if t is not r], r) for r in right):
            offered.append(tool)
    return draw.shuffled(offered)


def offer_without(missing: LabTool, others: Sequence[LabTool], size: int, draw: Draw) -> list[LabTool]:
    """Offer ``size`` of the others that all come near a missing one and could not do its work, not even together."""
    offered: list[LabTool] = []
    while len(offered) < size:
        near = draw.one(_SAME)
        tool = draw.one([tool for tool in others if near(tool, missing)])
        if tool not in offered and not can_do([*offered, tool], missing):
            offered.append(tool)
    return offered
