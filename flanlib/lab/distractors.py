"""Choose distractor tools: similar to the right ones, but unable to do their work."""

from collections.abc import Callable, Sequence

from flanlib.lab.tools import LabTool
from flanlib.lab.words import Draw

# What a distractor shares with a right tool: domain, operation or a parameter name. Drawn with these frequencies.
_SIMILAR: tuple[Callable[[LabTool, LabTool], bool], ...] = (
    *[lambda a, b: a.domain is b.domain] * 4, *[lambda a, b: a.verb == b.verb] * 4,
    lambda a, b: not set(a.slots.values()).isdisjoint(b.slots.values()))
_SIMILAR_OR_ANY = (*_SIMILAR, lambda a, b: True)

# By operation: the others that can each do its work on the same attribute. The total of one entity is its look-up. In a
# known group, raising a limit or trying every choice finds each entity's value, and so both ends of a ranking.
_REPLACED_BY = {"lookup": {"total", "above", "match"}, "total": {"lookup", "above", "match"},
                "extreme": {"rank", "above"}, "rank": {"extreme", "above"}}
_LIST_A_GROUP = {"list", "above", "match"}  # a limit below all values, or every choice in turn, lists a whole group
_LOOK_UP = {"lookup", "total"}


def can_do(tools: Sequence[LabTool], tool: LabTool) -> bool:
    """Tell whether one or several tools could do the work of another, in any number of calls.

    ``tools`` may include ``tool`` itself, which makes this True. A replacement counts even if it needs a group that the
    request may not name.
    """
    if tool.verb == "convert":  # the only operation that does not use a table
        return any(t.verb == "convert" and set(t.domain.convert[:2]) == set(tool.domain.convert[:2]) for t in tools)
    same_domain = [t for t in tools if t.domain is tool.domain]
    on_attribute = {t.verb for t in same_domain if t.attribute == tool.attribute}
    can_list = any(t.verb in _LIST_A_GROUP for t in same_domain)
    if tool.verb in {"list", "count"}:
        return can_list or tool.verb in on_attribute
    if tool.verb in {"extreme", "rank", "above", "match"} and can_list and on_attribute & _LOOK_UP:
        return True  # list the group, then look up every entity
    return not on_attribute.isdisjoint({tool.verb} | _REPLACED_BY.get(tool.verb, set()))


def offer(right: Sequence[LabTool], others: Sequence[LabTool], size: int, draw: Draw) -> list[LabTool]:
    """Offer ``size`` tools, shuffled: the right ones, and distractors from ``others`` that cannot help replace them."""
    offered = list(right)
    while len(offered) < size:
        similar, target = draw.one(_SIMILAR_OR_ANY), draw.one(right)
        tool = draw.one([tool for tool in others if similar(tool, target)])
        replaceable = (can_do([t for t in (*offered, tool) if t is not needed], needed) for needed in right)
        if tool not in offered and not any(replaceable):
            offered.append(tool)
    return draw.shuffled(offered)


def offer_without(missing: LabTool, others: Sequence[LabTool], size: int, draw: Draw) -> list[LabTool]:
    """Offer ``size`` of the others, all similar to a missing tool and unable to do its work, even together."""
    offered: list[LabTool] = []
    while len(offered) < size:
        similar = draw.one(_SIMILAR)
        tool = draw.one([tool for tool in others if similar(tool, missing)])
        if tool not in offered and not can_do([*offered, tool], missing):
            offered.append(tool)
    return offered
