"""The lab's world and tasks: tools that run, a clean split, answers that follow from the tables."""

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib.dialects import DIALECTS, parse, render
from flanlib.lab.distractors import can_do
from flanlib.lab.domains import DOMAINS
from flanlib.lab.tasks import OFFERED, SHAPES, WORDS, statistics, tasks, trajectories
from flanlib.lab.tools import number
from flanlib.lab.world import HELD_OUT_DOMAINS, HELD_OUT_TOOLS, SPLITS, world
from flanlib.records import FlanError, to_json

ROOT = Path(__file__).resolve().parents[1]
WORLD = world()
SIZES = {"train": 2000, "heldout": 700}
ACCENTED = "éèêëáàâäãåíìîïóòôöõúùûüñçßøæšž"
LABELS = ("Thought:", "Action:", "Action Input:", "Final Answer:")


@functools.cache
def whole(split):
    return tasks(SIZES[split], rng=np.random.default_rng(11), split=split)


@functools.cache
def unserved(split):
    return tasks(400, rng=np.random.default_rng(12), split=split, shapes=("unserved",))


@functools.cache
def bare(split):
    return tasks(400, rng=np.random.default_rng(13), split=split, shapes=("bare",))


def values(lab, split):
    """Every proper name and date of one split."""
    names_of = (*lab.groups.items(), *lab.entities.items(), *lab.pooled.items())
    return {name for (_, of), names in names_of if of == split for name in names}


def call(name, arguments):
    return WORLD.run(name, arguments)[1]


def full_text(trajectory):
    """All texts of a trajectory, joined."""
    tools = [f"{t.name} {t.description} {to_json(t.parameters)}" for t in trajectory.tools]
    steps = [f"{s.thought} {s.tool} {to_json(s.arguments)} {s.observation}" for s in trajectory.steps]
    return "\n".join([trajectory.query, *tools, *steps, trajectory.answer_thought, trajectory.answer])


def digest(rows):
    return sha256("\n".join(t.id + full_text(t) for t in rows).encode()).hexdigest()


def test_world_has_many_tools_of_every_parameter_type():
    types = Counter(s["type"] for t in WORLD.tools.values() for s in t.tool.properties.values())
    assert len(WORLD.tools) >= 400
    assert len(DOMAINS) >= 23
    assert set(types) == {"string", "integer", "number", "boolean", "array"}
    assert all(set(s) == {"type"} for t in WORLD.tools.values() for s in t.tool.properties.values())
    for name, tool in WORLD.tools.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name)
        assert len(tool.tool.description.split()) <= 12
        assert set(tool.tool.required) <= set(tool.tool.properties)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_tool_name_description_or_value_hides_inside_another(seed):
    lab = world(seed)
    names = sorted(lab.tools)
    assert not [(a, b) for a in names for b in names if a != b and a in b]
    assert len({t.tool.description for t in lab.tools.values()}) == len(names)
    train, heldout = (sorted(values(lab, split)) for split in SPLITS)
    assert not [(a, b) for a in train for b in heldout if a in b or b in a]


@pytest.mark.parametrize("seed", [0, 1])
def test_whole_domains_and_some_tools_of_every_other_one_are_held_out(seed):
    lab = world(seed)
    heldout = Counter(t.domain.name for n, t in lab.tools.items() if lab.split(n) == "heldout")
    assert heldout == {d.name: 18 if d.name in HELD_OUT_DOMAINS else HELD_OUT_TOOLS for d in DOMAINS}
    assert 1 / 5 <= sum(heldout.values()) / len(lab.tools) <= 1 / 3
    assert len(HELD_OUT_DOMAINS) >= 4


def test_a_name_that_is_no_tool_belongs_to_no_split():
    with pytest.raises(FlanError):
        WORLD.split("no_such_tool")


def leaks(text, *, words=False):
    """Held-out tool names, descriptions and values in a text; ``words``: only whole words with the same case."""
    heldout = [t for n, t in WORLD.tools.items() if WORLD.split(n) == "heldout"]
    banned = [t.name for t in heldout] + [t.tool.description for t in heldout] + sorted(values(WORLD, "heldout"))
    folded = text.casefold()
    leaked = [item for item in banned if item.casefold() in folded]
    return [s for s in leaked if re.search(rf"(?<!\w){re.escape(s)}(?!\w)", text)] if words else leaked


def test_nothing_held_out_occurs_in_train_trajectories_in_any_dialect():
    drawn = trajectories(1500, rng=np.random.default_rng(0), shapes=(*SHAPES, *["unserved", "bare"] * 5))
    texts = [turn.text for t in drawn for name in DIALECTS for turn in render(t, name).turns]
    assert not leaks("\n".join((*texts, *(full_text(t) for t in drawn))))


def test_leaks_are_found():
    tool = next(t for n, t in WORLD.tools.items() if WORLD.split(n) == "heldout")
    value = WORLD.entities["weather", "heldout"][0]
    text = f"We ask {tool.name.upper()}: {tool.tool.description} In {value}."
    assert leaks(text) == [tool.name, tool.tool.description, value]
    assert leaks(text, words=True) == [tool.tool.description, value]
    assert not leaks(f"{value}n", words=True)


def test_held_out_trajectories_use_no_tool_and_no_value_of_training():
    text = "\n".join(full_text(t.trajectory) for t in whole("heldout"))
    assert not [value for value in values(WORLD, "train") if value in text]
    assert all(WORLD.split(t.name) == "heldout" for task in whole("heldout") for t in task.trajectory.tools)


def test_every_call_names_the_values_it_was_given():
    """Every argument is in the query or in an earlier observation, so nothing has to be guessed."""
    for task in (*whole("train"), *whole("heldout")):
        known = task.trajectory.query.casefold()
        for step in task.trajectory.steps:
            for value in step.arguments.values():
                for one in value if isinstance(value, tuple) else (value,):
                    assert one is True or str(one).casefold() in known, (task.trajectory, one)
            known += step.observation.casefold()


def from_tables(step):
    """Recompute a call's result from the tables, by the plain meaning of the operation."""
    tool, rows = WORLD.tools[step.tool], WORLD.rows[WORLD.tools[step.tool].domain.name]
    arguments = {role: step.arguments[key] for role, key in tool.slots.items() if key in step.arguments}
    inside = [n for n, row in rows.items() if row["group"] == arguments.get("group")]
    key = tool.attribute
    if tool.verb in {"lookup", "check", "link"}:
        return rows[arguments["entity"]][key]
    if tool.verb in {"extreme", "rank"}:
        high = arguments.get("order") == "highest" or (key and tool.words["best"] == number(tool.domain, key).most)
        values = sorted(inside, key=lambda n: rows[n][key])
        return values[-1 if high else 0]
    if tool.verb == "convert":
        return pytest.approx(arguments["amount"] * tool.domain.convert[2] + tool.domain.convert[3], abs=0.006)
    return {"list": lambda: inside, "count": lambda: len(inside),
            "above": lambda: [n for n in inside if rows[n][key] > arguments["limit"]],
            "match": lambda: [n for n in inside if rows[n][key] == arguments["choice"]],
            "find": lambda: next(n for n, row in rows.items() if row[key] == arguments["person"]),
            "total": lambda: sum(rows[n][key] for n in arguments["entities"])}[tool.verb]()


def shown(step):
    """The result in an observation, without its labels."""
    value = json.loads(step.observation)
    return list(value.values())[-1] if isinstance(value, dict) else value


@pytest.mark.parametrize("split", SPLITS)
def test_observations_follow_from_the_tables(split):
    seen = Counter()
    for task in whole(split):
        for step in task.trajectory.steps:
            verb = WORLD.tools[step.tool].verb
            seen[verb] += 1
            if verb == "reserve":
                assert re.fullmatch(r"[A-Z]{2}-\d{4}", shown(step))
            else:
                assert shown(step) == from_tables(step), step
    assert len(seen) == 13


@pytest.mark.parametrize("split", SPLITS)
def test_answers_hold_what_the_tables_say(split):
    shapes = Counter()
    for task in whole(split):
        steps, query = task.trajectory.steps, task.trajectory.query
        results = [shown(step) for step in steps]
        tool = WORLD.tools[steps[0].tool]
        entities = [next(iter(step.arguments.values())) for step in steps]
        if task.shape == "compare":
            measure = number(tool.domain, tool.attribute)
            high = re.search(rf"\b(higher|highest|{measure.most})\b", query)
            assert bool(high) != bool(re.search(rf"\b(lower|lowest|{measure.least})\b", query))
            right = [entities[results.index((max if high else min)(results))]]
        elif task.shape == "difference":
            right = [abs(results[0] - results[1])]
        elif task.shape == "total":
            right = [sum(results)]
        elif tool_of_last(steps).verb == "check":
            right = [tool_of_last(steps).domain.flag[1 if results[-1] else 2]]
        else:
            right = results[-1] if isinstance(results[-1], list) else [results[-1]]
        shapes[task.shape] += 1
        assert all(re.search(rf"(?<![\w.]){re.escape(str(r))}(?!\w|\.\d)", task.trajectory.answer, re.IGNORECASE)
                   for r in right), task
        assert all(e.casefold() in task.trajectory.answer.casefold() for e in task.expected)
    assert set(shapes) == {"single", "chain", "compare", "difference", "total"}
    assert min(shapes.values()) >= 20


def tool_of_last(steps):
    return WORLD.tools[steps[-1].tool]


def test_each_step_of_a_chain_uses_the_result_before_it():
    for task in whole("train"):
        if task.shape == "chain":
            for last, step in zip(task.trajectory.steps, task.trajectory.steps[1:], strict=False):
                assert shown(last) in list(step.arguments.values())


def near(tool, other):
    """Two tools share things, operation or parameters."""
    shared = set(tool.slots.values()) & set(other.slots.values())
    return tool.domain is other.domain or tool.verb == other.verb or bool(shared)


@pytest.mark.parametrize("split", SPLITS)
def test_offers_hold_the_right_tools_and_near_misses_in_any_place(split):
    places, close, closer, wrong = Counter(), 0, 0, 0
    for task in whole(split):
        names = [t.name for t in task.trajectory.tools]
        right = [WORLD.tools[s.tool] for s in task.trajectory.steps]
        assert OFFERED[0] <= len(names) <= OFFERED[1]
        assert len(set(names)) == len(names)
        assert {t.name for t in right} < set(names)
        places[names.index(right[0].name) / len(names)] += 1
        for other in (WORLD.tools[n] for n in names if WORLD.tools[n] not in right):
            wrong += 1
            close += any(near(t, other) for t in right)
            closer += any(t.domain is other.domain or t.verb == other.verb for t in right)
    assert close / wrong > 0.85
    assert closer / wrong > 0.75
    assert max(places.values()) < 0.5 * len(whole(split))


@pytest.mark.parametrize("split", SPLITS)
def test_no_offered_tool_could_do_the_work_of_another(split):
    for task in whole(split):
        offered = [WORLD.tools[t.name] for t in task.trajectory.tools]
        for step in task.trajectory.steps:
            right = WORLD.tools[step.tool]
            assert not can_do([t for t in offered if t is not right], right), (right.name, [t.name for t in offered])


def of(domain, verb, key=None):
    return next(t for t in WORLD.tools.values() if t.domain.name == domain and t.verb == verb
                and key in {None, t.attribute})


@pytest.mark.parametrize(("verbs", "wanted", "able"), [
    ("list", "count", True), ("count", "list", False), ("above", "list", True), ("match", "count", True),
    ("total", "lookup trail_length", True), ("lookup trail_length", "total", True),
    ("total", "lookup height", False), ("lookup height", "total", False),
    ("match", "lookup rock", True), ("above", "lookup trail_length", True), ("lookup rock", "match", False),
    ("above", "extreme trail_length", True), ("rank", "extreme height", False), ("extreme height", "rank", False),
    ("list", "rank", False), ("lookup hut_count", "rank", False), ("list,lookup hut_count", "rank", True),
    ("match,lookup hut_count", "rank", True), ("list,lookup height", "extreme height", True),
    ("list,lookup height", "rank", False), ("list,total", "above", True), ("list,lookup rock", "match", True),
    ("count,lookup rock", "match", False), ("lookup guide", "find", False), ("find", "lookup guide", False),
    ("list,lookup height,match,rank,find", "link", False), ("list,lookup rock,above,link,reserve", "check", False),
    ("list,lookup height,total,link,check", "reserve", False), ("lookup height,total", "convert", False),
])  # fmt: skip
def test_which_operations_could_stand_in_for_which(verbs, wanted, able):
    tools = [of("geography", *name.split()) for name in verbs.split(",")]
    assert can_do(tools, of("geography", *wanted.split())) == able
    assert can_do([*tools, of("geography", *wanted.split())], of("geography", *wanted.split()))
    assert not can_do([of("farms", *name.split()[:1]) for name in verbs.split(",")], of("geography", *wanted.split()))


def test_stand_ins_really_do_the_work():
    """The assumptions of can_do, checked by running tools: what can list, look up, or find an end of a ranking."""
    for domain in WORLD.rows:
        group, rows = WORLD.groups[domain, "train"][0], WORLD.rows[domain]
        def run(tool, **given):
            return WORLD.run(tool.name, {tool.slots[role]: value for role, value in given.items()})[0]

        above, match, total = of(domain, "above"), of(domain, "match"), of(domain, "total")
        everything = run(of(domain, "list"), group=group)
        assert run(above, group=group, limit=-1) == everything
        parts = [run(match, group=group, choice=choice) for choice in match.domain.text[1]]
        assert sorted(name for part in parts for name in part) == sorted(everything)
        assert run(total, entities=everything[:1]) == rows[everything[0]][total.attribute]
        least = min(rows[name][above.attribute] for name in everything)
        assert set(everything) - set(run(above, group=group, limit=least)) == {
            run(of(domain, "extreme", above.attribute), group=group)}


def test_no_two_conversions_go_between_the_same_units():
    assert len({frozenset(d.convert[:2]) for d in DOMAINS}) == len(DOMAINS)


@pytest.mark.parametrize("split", SPLITS)
def test_unserved_requests_are_answered_without_a_call_and_without_a_value(split):
    seen, close, offered = Counter(), 0, 0
    for task in unserved(split):
        t, missing = task.trajectory, WORLD.tools[task.missing]
        tools = [WORLD.tools[tool.name] for tool in t.tools]
        assert (task.shape, task.expected, t.steps) == ("unserved", (), ())
        assert OFFERED[0] <= len(tools) <= OFFERED[1]
        assert len(set(tools)) == len(tools)
        assert not can_do(tools, missing)
        assert {WORLD.split(tool.name) for tool in (*tools, missing)} == {split}
        assert all(near(missing, tool) for tool in tools)
        assert re.search(r"\b(tools?|none)\b", t.answer)
        assert re.search(r"\b(cannot|no|not|none|never)\b", t.answer, re.I)
        assert set(re.findall(r"\d+", t.answer + t.answer_thought)) <= set(re.findall(r"\d+", t.query))
        names = values(WORLD, split)  # the answer names only values of the query: nothing is invented
        assert not [n for n in names if n in t.answer + t.answer_thought and n.casefold() not in t.query.casefold()]
        seen[missing.verb] += 1
        close += sum(tool.domain is missing.domain or tool.verb == missing.verb for tool in tools)
        offered += len(tools)
    assert len(seen) == 13
    assert close / offered > 0.75
    answers = skeletons(task.trajectory.answer for task in unserved(split))
    assert len(answers) > 0.85 * len(unserved(split))


@pytest.mark.parametrize("split", SPLITS)
def test_bare_requests_have_no_tools_no_steps_and_an_answer_without_a_value(split):
    seen = Counter()
    for task in bare(split):
        t, missing = task.trajectory, WORLD.tools[task.missing]
        assert (task.shape, task.expected, t.tools, t.steps, t.answer_thought) == ("bare", (), (), (), "")
        assert WORLD.split(task.missing) == split
        assert not re.search(r"\b(tools?|functions?)\b", t.answer)
        assert re.search(r"\b(cannot|no|not|nobody|beyond|more than)\b", t.answer, re.I)
        assert set(re.findall(r"\d+", t.answer)) <= set(re.findall(r"\d+", t.query))
        assert not [n for n in values(WORLD, split) if n in t.answer and n.casefold() not in t.query.casefold()]
        seen[missing.verb] += 1
    assert len(seen) == 13
    answers = skeletons(task.trajectory.answer for task in bare(split))
    assert share_of_commonest(answers) < 0.3  # measured: 0.29 and 0.26, mostly of seven sentences without a slot
    assert len(answers) > 0.6 * len(bare(split))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_trajectories_without_a_call_survive_every_dialect(dialect):
    for task in (*unserved("train"), *bare("train")):
        conversation = render(task.trajectory, dialect)
        assert parse(conversation, dialect) == task.trajectory
        thought = dialect == "chat" and task.shape == "unserved"  # a turn of its own
        assert sum(turn.trained for turn in conversation.turns) == 1 + thought


def test_unserved_and_bare_requests_come_only_where_they_are_asked_for():
    assert not {"unserved", "bare"} & set(SHAPES)
    assert {task.shape for task in whole("train")} == set(SHAPES)
    both = Counter(task.shape for task in tasks(100, rng=np.random.default_rng(1), shapes=("bare", "unserved")))
    assert min(both["bare"], both["unserved"]) > 30
    drawn = tasks(300, rng=np.random.default_rng(1), shapes=("unserved", "unserved", "compare"))
    shares = Counter(task.shape for task in drawn)
    assert set(shares) == {"unserved", "compare"}
    assert 0.55 < shares["unserved"] / 300 < 0.78
    for wrong in ((), ("no_shape",), "single", ("single", "no_shape")):
        with pytest.raises(FlanError, match="shapes"):
            tasks(1, rng=np.random.default_rng(1), shapes=wrong)


def test_texts_are_short_plain_and_free_of_format_labels():
    allowed = set(map(chr, range(32, 127))) | set(ACCENTED) | set(ACCENTED.upper())
    sizes = []
    for task in (task for some in (whole, unserved, bare) for split in SPLITS for task in some(split)):
        trajectory, text = task.trajectory, full_text(task.trajectory)
        assert not [label for label in LABELS if label in text]
        assert set(text) <= allowed | {"\n"}
        prose = (trajectory.query, trajectory.answer, trajectory.answer_thought, *(s.thought for s in trajectory.steps))
        assert not [t for t in prose if "  " in t or t != t.strip() or "{" in t or "[" in t or "|" in t or "_" in t]
        last = [] if task.shape == "bare" else [trajectory.answer_thought]
        for thought in (*(s.thought for s in trajectory.steps), *last):
            assert WORDS[0] <= len(thought.split()) <= WORDS[1], thought
        assert all(len(s.observation) < 120 for s in trajectory.steps)
        sizes.append(len(text.split()))
    assert np.median(sizes) < 200
    assert max(sizes) < 300


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_list_in_the_world_stays_short(seed):
    lab = world(seed)
    longest = max(len(lab.run(n, {t.slots["group"]: group})[1]) for n, t in lab.tools.items() if t.verb == "list"
                  for group in lab.members[t.domain.name])
    assert longest < 120


def words_of_the_world():
    """Every word of a name or a domain, except small words."""
    texts = [*values(WORLD, "train")]
    for d in DOMAINS:
        texts += [d.noun, d.plural, d.group, d.person, d.link, d.text[0], *d.flag, *d.convert[:2], *d.text[1],
                  *d.reserve, *(x for n in d.numbers for x in (n.key, n.unit, n.most, n.least))]
    small = {"the", "has", "is", "not", "no", "a", "an", "of", "in", "for", "to", "with", "at", "over", "on", "from"}
    return {word for text in texts for word in re.split(r"[^\w]|_", text.casefold()) if word} - small


OURS = words_of_the_world()


def skeletons(texts):
    """Texts with the world's content masked: names, numbers, and the words of its domains."""
    masked = (re.sub(r"\w+(\.\d+)?", lambda m: "X" if m[0].casefold() in OURS or m[0][-1].isdigit() else m[0], text)
              for text in texts)
    return Counter(re.sub(r"X([ ,]+((and|or|a|an|the) )*X)*", "X", text) for text in masked)


def t_values(trajectory):
    """Argument values of a trajectory's first call."""
    return [v for value in trajectory.steps[0].arguments.values()
            for v in (value if isinstance(value, tuple) else (str(value),))]


def share_of_commonest(found, n=10):
    """The share of the texts that the n commonest skeletons cover."""
    return sum(count for _, count in found.most_common(n)) / sum(found.values())


def test_no_template_matches_many_queries_thoughts_or_answers():
    solved, refused, empty = ([task.trajectory for task in some("train")] for some in (whole, unserved, bare))
    queries = skeletons(t.query for t in (*solved, *refused, *empty))
    requests = skeletons(s for t in solved for s in re.split(r"(?<=[.?!]) ", t.query)
                         if re.search(r"\d", s) or any(v in s for v in t_values(t)))
    thoughts = skeletons(s.thought for t in solved for s in t.steps)
    closings = skeletons(t.answer_thought for t in (*solved, *refused))
    answers = skeletons(t.answer for t in solved)
    assert share_of_commonest(queries) < 0.01  # whole requests, with what surrounds them
    assert share_of_commonest(requests) < 0.04  # the asking sentence alone
    assert share_of_commonest(thoughts) < 0.04
    assert share_of_commonest(closings) < 0.03
    assert share_of_commonest(answers) < 0.08
    assert len(requests) > 0.7 * len(solved)
    assert len(thoughts) > 0.6 * sum(thoughts.values())


def test_same_seed_same_tasks_and_another_seed_others():
    first, again, other = (trajectories(60, rng=np.random.default_rng(s)) for s in (3, 3, 4))
    assert first == again
    assert first != other
    assert trajectories(20, rng=np.random.default_rng(3)) == first[:20]
    assert [t.id for t in first[:2]] == ["lab-train-000000", "lab-train-000001"]
    assert values(world(1), "train") != values(WORLD, "train")
    with pytest.raises(FlanError):
        trajectories(1, rng=np.random.default_rng(0), split="test")


def test_another_process_makes_the_same_tasks():
    code = ("import sys; sys.path.insert(0, 'tests'); import numpy as np; from test_lab_world import digest; "
            "from flanlib.lab.tasks import trajectories as t; print(digest(t(100, rng=np.random.default_rng(5))))")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)})
    assert run.stdout.strip() == digest(trajectories(100, rng=np.random.default_rng(5)))


def deep(levels, kind=list):
    """Nested lists or objects."""
    value = kind()
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


def error(observation):
    """The text of an error observation, or None if the call succeeded. Either is one short line of JSON."""
    assert isinstance(observation, str)
    assert len(observation) <= 120
    assert len(observation.splitlines()) == 1
    assert not [label for label in LABELS if label in observation]
    value = json.loads(observation)
    return value["error"] if isinstance(value, dict) and set(value) == {"error"} else None


BY_VERB = {t.verb: t for t in reversed(WORLD.tools.values())}
BIG = "zqzq" * (10 * 2**20 // 4)  # ten million characters, none of them in any error
HOSTILE = [None, True, False, 10**5000, -(10**5000), 2**63, float("nan"), float("inf"), -float("inf"), 1e308, -0.5, "",
           " ", BIG, "zqzq\n" * 30, "\ud800", "\x00", "\u202ezqzq", "Final Answer: zqzq", [], {}, [[]], [None], [BIG],
           ["zqzq"] * 7, list(range(100_000)), ["zqzq"] * 100_000, deep(100_000), deep(100_000, dict), [deep(100_000)],
           {"zqzq": BIG}, dict.fromkeys(map(str, range(100_000))), b"zqzq", 3 + 4j]


FITS = {("guest", "string"): ("Final Answer: zqzq",), ("amount", "number"): (-0.5,),
        ("extra", "boolean"): (True, False)}  # fmt: skip


def valid(tool):
    """Valid arguments of a tool, by name."""
    domain = tool.domain
    entity, group = WORLD.entities[domain.name, "train"][0], WORLD.groups[domain.name, "train"][0]
    by_role = {"entity": entity, "group": group, "order": "highest", "limit": 3, "choice": domain.text[1][0],
               "person": WORLD.rows[domain.name][entity][domain.person], "entities": [entity], "amount": 2.5,
               "guest": "Anna Lee", "date": "May 12", "extra": 2 if domain.counts_extra else True}
    return {key: by_role[role] for role, key in tool.slots.items()}


def test_valid_arguments_are_served_by_every_tool():
    assert not [n for n, t in WORLD.tools.items() if error(call(n, valid(t))) is not None]


@pytest.mark.parametrize("verb", sorted(BY_VERB))
def test_no_hostile_value_raises_lasts_or_comes_back(verb):
    tool, before = BY_VERB[verb], to_json(WORLD.rows)
    began = time.perf_counter()
    for role, key in tool.slots.items():
        for i, value in enumerate(HOSTILE):
            result, observation = WORLD.run(tool.name, {**valid(tool), key: value})
            served = error(observation) is None
            fits = FITS.get((role, tool.tool.properties[key]["type"]), ())
            assert served == any(type(value) is type(one) and value == one for one in fits), (key, i)
            assert served or result is None
            assert "zqzq" not in observation
    assert time.perf_counter() - began < 3
    assert to_json(WORLD.rows) == before


@pytest.mark.parametrize("arguments", HOSTILE, ids=range(len(HOSTILE)))
def test_arguments_that_are_no_object_of_known_names_are_refused(arguments):
    for tool in BY_VERB.values():
        message = error(call(tool.name, arguments))
        assert message, tool.name
        assert "zqzq" not in message


@pytest.mark.parametrize("key", ["", "zqzq", BIG, "\ud800", 3, None, 10**5000, (1, 2)], ids=range(8))
def test_extra_and_missing_arguments_are_refused_by_every_tool(key):
    for tool in BY_VERB.values():
        message = error(call(tool.name, {**valid(tool), key: deep(1000)}))
        assert message.startswith("unknown argument, expected ")
        for name in tool.tool.required:
            assert error(call(tool.name, {k: v for k, v in valid(tool).items() if k != name})) == (
                f"{name} is missing")


ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=80),
                st.lists(st.integers(), max_size=9), st.dictionaries(st.text(max_size=5), st.none(), max_size=3))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(WORLD.tools)), st.data())
def test_odd_arguments_get_a_short_error(name, data):
    tool = WORLD.tools[name]
    message = error(call(name, {key: data.draw(ODD) for key in tool.tool.properties}))
    assert message or tool.verb in {"convert", "reserve"}


@pytest.mark.parametrize("name", ["", "no_such_tool", BIG, None, 3, True, [], {}, "\ud800", deep(100_000), 10**5000,
                                  float("nan")], ids=range(12))
def test_unknown_tools_get_a_short_error(name):
    assert error(call(name, {})) == "no such tool"
    assert WORLD.run(name, deep(100_000, dict))[0] is None


def test_errors_about_types_name_the_argument():
    convert, reserve, total = BY_VERB["convert"], BY_VERB["reserve"], BY_VERB["total"]
    amount = convert.slots["amount"]
    for value in (True, "4", None, float("nan"), float("inf"), 10**9, -(10**5000)):
        assert error(call(convert.name, {amount: value})).startswith(f"{amount} must be")
    names = list(WORLD.rows[total.domain.name])
    assert error(call(total.name, {total.slots["entities"]: names[:7]}))
    assert not error(call(total.name, {total.slots["entities"]: names[:6]}))
    for verb, role in (("rank", "order"), ("match", "choice")):
        tool = BY_VERB[verb]
        key = tool.slots[role]
        assert error(call(tool.name, {**valid(tool), key: "none"})) == (
            f"{key} must be one of {', '.join(tool.choices[key])}")
    booking, place, date = valid(reserve), reserve.slots["entity"], reserve.slots["date"]
    same = {**booking, place: f" {booking[place].upper()} "}
    assert not error(call(reserve.name, booking))
    assert call(reserve.name, same) == call(reserve.name, booking)
    assert error(call(reserve.name, {**booking, date: "soon"})) == f"{date} must be a date such as May 12"


def test_readme_counts_are_the_worlds():
    text, table = (ROOT / "data" / "lab" / "README.md").read_text(encoding="utf-8"), statistics()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    counted = {row[0]: row[1:] for row in rows}
    for row in table.itertuples(index=False):
        assert counted[row.domain] == [str(cell) for cell in row[1:]]
    assert counted["**all**"] == ["", *(str(table[c].sum()) for c in table.columns[2:])]
    for (kind, split), names in WORLD.pooled.items():
        assert f"{len(names)} {split} {kind}s" in text
    for row in statistics("operation").itertuples(index=False):
        assert counted[f"`{row.operation}`"][:2] == [str(row.tools), str(row.heldout_tools)]
    for row in statistics("shape").itertuples(index=False):
        assert counted[row.shape][:4] == [str(cell) for cell in row[1:]]
    assert f"{len(WORLD.tools)} tools in {len(DOMAINS)} domains" in text


def test_statistics_count_the_same_world_in_three_ways():
    domains, operations, shapes = (statistics(by) for by in ("domain", "operation", "shape"))
    assert domains.tools.sum() == operations.tools.sum() == len(WORLD.tools)
    assert domains.heldout_tools.sum() == operations.heldout_tools.sum()
    assert len(operations) == 13
    assert shapes.of_twenty.sum() == len(SHAPES) == 20
    calls = {row.shape: {int(n) for n in re.findall(r"\d+", row.calls)} for row in shapes.itertuples(index=False)}
    for task in (*whole("train"), *unserved("train"), *bare("train")):
        assert min(calls[task.shape]) <= len(task.trajectory.steps) <= max(calls[task.shape])
    with pytest.raises(FlanError):
        statistics("colour")
