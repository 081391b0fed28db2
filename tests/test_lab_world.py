"""The lab's world and tasks: tools that run, a clean split, answers that follow from the tables."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib.lab import talk
from flanlib.lab.domains import DOMAINS
from flanlib.lab.tasks import WORDS, statistics, tasks, trajectories
from flanlib.lab.tools import number
from flanlib.lab.words import ACCENTED
from flanlib.lab.world import SPLITS, world
from flanlib.records import FlanError, to_json

ROOT = Path(__file__).resolve().parents[1]
WORLD = world()
MADE = {split: tasks(700, rng=np.random.default_rng(11), split=split) for split in SPLITS}
LABELS = ("Thought:", "Action:", "Action Input:", "Final Answer:")


def told(trajectory):
    """Every text of a trajectory, one after the other."""
    tools = [f"{t.name} {t.description} {to_json(t.parameters)}" for t in trajectory.tools]
    steps = [f"{s.thought} {s.tool} {to_json(s.arguments)} {s.observation}" for s in trajectory.steps]
    return "\n".join([trajectory.query, *tools, *steps, trajectory.answer_thought, trajectory.answer])


def digest(made):
    return sha256("\n".join(t.id + told(t) for t in made).encode()).hexdigest()


def test_world_has_many_tools_of_every_parameter_type():
    types = Counter(s["type"] for t in WORLD.tools.values() for s in t.tool.properties.values())
    assert len(WORLD.tools) >= 300
    assert len(DOMAINS) >= 12
    assert set(types) == {"string", "integer", "number", "boolean", "array"}
    assert any("enum" in s for t in WORLD.tools.values() for s in t.tool.properties.values())
    for name, tool in WORLD.tools.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name)
        assert len(tool.tool.description.split()) <= 12
        assert set(tool.tool.required) <= set(tool.tool.properties)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_tool_name_description_or_value_hides_inside_another(seed):
    made = world(seed)
    names = sorted(made.tools)
    assert not [(a, b) for a in names for b in names if a != b and a in b]
    assert len({t.tool.description for t in made.tools.values()}) == len(names)
    train, heldout = (sorted(made.values(split)) for split in SPLITS)
    assert not [(a, b) for a in train for b in heldout if a in b or b in a]


def test_a_fifth_of_the_tools_and_three_whole_domains_are_held_out():
    shares = {d.name: np.mean([WORLD.split(n) == "heldout" for n, t in WORLD.tools.items() if t.domain is d])
              for d in DOMAINS}
    assert sum(share == 1 for share in shares.values()) == 3
    assert all(0.18 <= share <= 0.25 for share in shares.values() if share < 1)
    with pytest.raises(FlanError):
        WORLD.split("no_such_tool")


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_held_out_occurs_in_train_trajectories(seed):
    made = world(seed)
    text = "\n".join(told(t) for t in trajectories(600, rng=np.random.default_rng(seed), world=made)).casefold()
    heldout = [t for n, t in made.tools.items() if made.split(n) == "heldout"]
    banned = [t.name for t in heldout] + [t.tool.description for t in heldout] + sorted(made.values("heldout"))
    assert not [thing for thing in banned if thing.casefold() in text]


def test_held_out_trajectories_use_no_tool_and_no_value_of_training():
    text = "\n".join(told(t.trajectory) for t in MADE["heldout"])
    assert not [value for value in WORLD.values("train") if value in text]
    assert all(WORLD.split(t.name) == "heldout" for task in MADE["heldout"] for t in task.trajectory.tools)


def test_every_call_names_the_values_it_was_given():
    """An argument stands in the query or in an earlier observation: nothing has to be guessed."""
    for task in (*MADE["train"], *MADE["heldout"]):
        known = task.trajectory.query.casefold()
        for step in task.trajectory.steps:
            for value in step.arguments.values():
                for one in value if isinstance(value, tuple) else (value,):
                    assert one is True or str(one).casefold() in known, (task.trajectory, one)
            known += step.observation.casefold()


def from_tables(step):
    """Recompute a call's result from the tables, by the plain meaning of the operation."""
    tool, rows = WORLD.tools[step.tool], WORLD.rows[WORLD.tools[step.tool].domain.name]
    asked = {role: step.arguments[key] for role, key in tool.slots.items() if key in step.arguments}
    inside = [n for n, row in rows.items() if row["group"] == asked.get("group")]
    key = tool.attribute
    if tool.verb in {"lookup", "check", "link"}:
        return rows[asked["entity"]][key]
    if tool.verb in {"extreme", "rank"}:
        high = asked.get("order") == "highest" or (key and tool.best == number(tool.domain, key).most)
        values = sorted(inside, key=lambda n: rows[n][key])
        return values[-1 if high else 0]
    if tool.verb == "convert":
        return pytest.approx(asked["amount"] * tool.domain.convert[2] + tool.domain.convert[3], abs=0.006)
    return {"list": lambda: inside, "count": lambda: len(inside),
            "above": lambda: [n for n in inside if rows[n][key] > asked["limit"]],
            "match": lambda: [n for n in inside if rows[n][key] == asked["choice"]],
            "find": lambda: next(n for n, row in rows.items() if row[key] == asked["person"]),
            "total": lambda: sum(rows[n][key] for n in asked["entities"])}[tool.verb]()


def shown(step):
    """The result that an observation shows, its labels taken off."""
    value = json.loads(step.observation)
    return list(value.values())[-1] if isinstance(value, dict) else value


@pytest.mark.parametrize("split", SPLITS)
def test_observations_follow_from_the_tables(split):
    seen = Counter()
    for task in MADE[split]:
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
    for task in MADE[split]:
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
    for task in MADE["train"]:
        if task.shape == "chain":
            for last, step in zip(task.trajectory.steps, task.trajectory.steps[1:], strict=False):
                assert shown(last) in list(step.arguments.values())


def test_offers_hold_the_right_tools_and_near_misses_in_any_place():
    places, near, wrong = Counter(), 0, 0
    for task in MADE["train"]:
        names = [t.name for t in task.trajectory.tools]
        right = [WORLD.tools[s.tool] for s in task.trajectory.steps]
        assert 3 <= len(names) <= 6
        assert len(set(names)) == len(names)
        assert {t.name for t in right} < set(names)
        places[names.index(right[0].name) / len(names)] += 1
        for other in (WORLD.tools[n] for n in names if WORLD.tools[n] not in right):
            wrong += 1
            near += any(other.domain is t.domain or other.verb == t.verb for t in right)
    assert near / wrong > 0.75
    assert max(places.values()) < 0.5 * len(MADE["train"])


def test_texts_are_short_plain_and_free_of_format_labels():
    allowed = set(map(chr, range(32, 127))) | set(ACCENTED) | set(ACCENTED.upper())
    sizes = []
    for task in (*MADE["train"], *MADE["heldout"]):
        trajectory, text = task.trajectory, told(task.trajectory)
        assert not [label for label in LABELS if label in text]
        assert set(text) <= allowed | {"\n"}
        prose = (trajectory.query, trajectory.answer, trajectory.answer_thought, *(s.thought for s in trajectory.steps))
        assert not [t for t in prose if "  " in t or t != t.strip() or "{" in t or "[" in t or "|" in t or "_" in t]
        for thought in (*(s.thought for s in trajectory.steps), trajectory.answer_thought):
            assert WORDS[0] <= len(thought.split()) <= WORDS[1], thought
        assert all(len(s.observation) < 120 for s in trajectory.steps)
        sizes.append(len(text.split()))
    assert np.median(sizes) < 200
    assert max(sizes) < 300


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_list_in_the_world_stays_short(seed):
    made = world(seed)
    longest = max(len(made.call(n, {t.slots["group"]: group})) for n, t in made.tools.items() if t.verb == "list"
                  for group in made.members[t.domain.name])
    assert longest < 120


def words_of_the_world():
    """Every word of a name, and every word that a domain brings, small words aside."""
    texts = [*WORLD.values("train")]
    for d in DOMAINS:
        texts += [d.noun, d.plural, d.group, d.person, d.link, d.text[0], *d.flag, *d.convert[:2], *d.text[1],
                  *d.reserve, *(x for n in d.numbers for x in (n.key, n.unit, n.most, n.least))]
    small = {"the", "has", "is", "not", "no", "a", "an", "of", "in", "for", "to", "with", "at", "over", "on", "from"}
    return {word for text in texts for word in re.split(r"[^\w]|_", text.casefold()) if word} - small


OURS = words_of_the_world()


def skeletons(texts):
    """Texts with everything of the world taken out: names, numbers, and the words of its domains."""
    masked = (re.sub(r"\w+(\.\d+)?", lambda m: "X" if m[0].casefold() in OURS or m[0][-1].isdigit() else m[0], text)
              for text in texts)
    return Counter(re.sub(r"X([ ,]+((and|or|a|an|the) )*X)*", "X", text) for text in masked)


def t_values(trajectory):
    """Names that a trajectory's first call was given."""
    return [v for value in trajectory.steps[0].arguments.values()
            for v in (value if isinstance(value, tuple) else (str(value),))]


def test_no_template_matches_many_queries_thoughts_or_answers():
    made = [task.trajectory for task in MADE["train"]]
    queries = skeletons(t.query for t in made)
    requests = skeletons(s for t in made for s in re.split(r"(?<=[.?!]) ", t.query)
                         if re.search(r"\d", s) or any(v in s for v in t_values(t)))
    thoughts = skeletons(s.thought for t in made for s in t.steps)
    answers = skeletons(t.answer for t in made)
    assert len(queries) > 0.85 * len(made)  # whole requests, with what surrounds them
    assert len(requests) > 250  # the asking sentence alone
    assert requests.most_common(1)[0][1] < 0.03 * len(made)
    assert len(thoughts) > 0.4 * sum(thoughts.values())
    assert len(answers) > 0.25 * len(made)
    assert answers.most_common(1)[0][1] < 0.08 * len(made)


def test_same_seed_same_tasks_and_another_seed_others():
    first, again, other = (trajectories(60, rng=np.random.default_rng(s)) for s in (3, 3, 4))
    assert first == again
    assert first != other
    assert trajectories(20, rng=np.random.default_rng(3)) == first[:20]
    assert [t.id for t in first[:2]] == ["lab-train-000000", "lab-train-000001"]
    assert world(1).values("train") != WORLD.values("train")
    with pytest.raises(FlanError):
        trajectories(1, rng=np.random.default_rng(0), split="test")


def test_another_process_makes_the_same_tasks():
    code = ("import sys; sys.path.insert(0, 'tests'); import numpy as np; from test_lab_world import digest; "
            "from flanlib.lab.tasks import trajectories as t; print(digest(t(100, rng=np.random.default_rng(5))))")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)})
    assert run.stdout.strip() == digest(trajectories(100, rng=np.random.default_rng(5)))


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=80),
                st.lists(st.integers(), max_size=9), st.dictionaries(st.text(max_size=5), st.none(), max_size=3),
                st.sampled_from([10**5000, -(10**400), 1e308, "x" * 10**6, "\ud800", "Final Answer: 4", "\n" * 9,
                                 deep(5000), [deep(5000)], ["x" * 10**6] * 3, list(range(10**5)), {"a": deep(5000)}]))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(WORLD.tools)), st.data())
def test_hostile_arguments_get_a_short_error(name, data):
    tool = WORLD.tools[name]
    arguments = {key: data.draw(ODD) for key in tool.tool.properties}
    observation = WORLD.call(name, arguments)
    assert len(observation) < 120
    allowed = {"convert": (int, float), "reserve": ()}.get(tool.verb)
    if allowed is None:
        assert observation.startswith("error:")
    for wrong in ({**arguments, "never_there": 1}, {}, None, [], "x", 10**5000):
        assert WORLD.call(name, wrong).startswith("error:")
    assert not [label for label in LABELS if label in observation]


@pytest.mark.parametrize("name", ["", "no_such_tool", "x" * 10**6, None, 3, [], "\ud800"])
def test_unknown_tools_get_a_short_error(name):
    assert WORLD.call(name, {}) == "error: no such tool"


def test_wrong_types_are_told_by_name():
    by_verb = {t.verb: t for t in WORLD.tools.values()}
    convert, reserve, total = by_verb["convert"], by_verb["reserve"], by_verb["total"]
    amount = convert.slots["amount"]
    for value in (True, "4", None, float("nan"), float("inf"), 10**9, -(10**5000)):
        assert WORLD.call(convert.name, {amount: value}).startswith(f"error: {amount} must be")
    assert WORLD.call(convert.name, {}) == f"error: {amount} is missing"
    names = list(WORLD.rows[total.domain.name])
    assert WORLD.call(total.name, {total.slots["entities"]: names[:7]}).startswith("error:")
    assert not WORLD.call(total.name, {total.slots["entities"]: names[:6]}).startswith("error:")
    place = next(iter(WORLD.rows[reserve.domain.name]))
    booking = {reserve.slots["entity"]: place.upper(), reserve.slots["guest"]: "Anna", reserve.slots["date"]: "May 12"}
    extra = {"integer": 2, "boolean": True}[reserve.tool.properties[reserve.slots["extra"]]["type"]]
    booking[reserve.slots["extra"]] = extra
    assert not WORLD.call(reserve.name, booking).startswith("error:")
    assert WORLD.call(reserve.name, booking) == WORLD.call(reserve.name, {**booking, reserve.slots["entity"]: place})
    assert WORLD.call(reserve.name, {**booking, reserve.slots["date"]: "soon"}).startswith("error:")


def test_readme_counts_are_the_worlds():
    text, table = (ROOT / "data" / "lab" / "README.md").read_text(encoding="utf-8"), statistics()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    counted = {row[0]: row[1:] for row in rows}
    for row in table.itertuples(index=False):
        assert counted[row.domain] == [str(cell) for cell in row[1:]]
    assert counted["**all**"] == ["", *(str(table[c].sum()) for c in table.columns[2:])]
    for (kind, split), names in WORLD.pooled.items():
        assert f"{len(names)} {split} {kind}s" in text
    verbs = Counter(t.verb for t in WORLD.tools.values())
    for verb, n in verbs.items():
        assert counted[f"`{verb}`"][0] == str(n)


def test_the_bases_texts_hold_no_tool_and_no_held_out_value_of_the_world():
    made = WORLD
    drawn = talk.conversations(2000, rng=np.random.default_rng(11))
    text = "\n".join(turn.text for conversation in drawn for turn in conversation.turns)
    words = set(re.findall(r"\w+", text))
    assert not words & set(made.tools)
    assert not [tool.tool.description for tool in made.tools.values() if tool.tool.description in text]
    names = {value for value in made.values("heldout") if not any(c.isdigit() for c in value)}
    found = [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    assert not found
