"""T-Eval: our scores are those of open-compass's own evaluators.

T_EVAL names a checkout of open-compass/T-Eval; all is skipped without it.
"""

import importlib
import json
import os
import sys
import types

import numpy as np
import pytest
from t_eval_rows import CALL, TOOLS, plan, row

from flanlib.benchmarks.t_eval import embedding, plans, reading, score

UPSTREAM = os.environ.get("T_EVAL", "")
pytestmark = pytest.mark.skipif(not UPSTREAM, reason="T_EVAL names no checkout of open-compass/T-Eval")


@pytest.fixture(scope="module")
def upstream():
    """Their evaluators, with likeness by letters in place of a model's."""
    import torch

    class Model:
        def __init__(self, name):
            pass

        def encode(self, texts, convert_to_tensor):
            return torch.tensor(embedding.by_letters(texts))

    def cos_sim(*sides):  # rounded as ours: among equal matchings, the last bit decides
        return torch.tensor(embedding.cosines(*(torch.atleast_2d(side).numpy() for side in sides)))

    stubs = {"sentence_transformers": {"SentenceTransformer": Model, "util": types.SimpleNamespace(cos_sim=cos_sim)},
             "mmengine": {"load": None}, "evaluate": {}, "termcolor": {"colored": None}}  # fmt: skip
    patch = pytest.MonkeyPatch()
    for name, members in stubs.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        patch.setitem(sys.modules, name, module)
    patch.syspath_prepend(UPSTREAM)
    yield importlib.import_module("teval.evaluators")
    patch.undo()


NAMES = {"parse_rate": "parsed", "review_quality": "review", "f1_score": "f1",
         "json_format_metric": "json format", "json_args_em_metric": "json args",
         "string_format_metric": "string format", "string_args_em_metric": "string args"}  # fmt: skip


def theirs(upstream, part, row, reply):
    """Score one reply by their evaluator, under the names of ours."""
    row = json.loads(json.dumps(row)) | {"prediction": reply}  # theirs changes the row
    kind, _, form = part.rpartition("_")
    if part == reading.INSTRUCT:
        evaluator = upstream.InstructEvaluator("")
    elif part == reading.REVIEW:
        evaluator = upstream.ReviewEvaluator("")
    elif kind == "plan":
        evaluator = upstream.PlanningEvaluator("")
    else:
        evaluator = upstream.ReasonRetrieveUnderstandEvaluator("", default_prompt_type=form, eval_type=kind)
    sample = evaluator._process_response(row)
    sample = sample[0] if isinstance(sample, tuple) else sample
    whole = kind in ("reason", "retrieve", "understand", "reason_retrieve_understand")  # these score all rows at once
    scores = evaluator._post_process([sample]) if whole else evaluator._evaluate(sample)
    return {NAMES.get(name, name): value for name, value in scores.items()}


def plan_replies(gold, rng):
    """A plan made right and wrong in many ways."""
    steps = [dict(step) for step in gold]
    mixed = [steps[i] for i in rng.permutation(len(steps))]
    some = [step for step in steps if rng.random() < 0.6] or steps
    text, names = json.dumps(steps), [step["name"] for step in steps]
    for listed in (
        steps, mixed, some, steps * 2, steps[:1], [*steps, *mixed], [{"name": "a"}], [], [1],
        [dict(step, id=i) for i, step in enumerate(mixed)],
        [dict(step, id=str(i)) for i, step in enumerate(steps)],
        [dict(step, name=mixed[i]["name"]) for i, step in enumerate(steps)],
        [dict(step, name=step["name"].split(".")[-1]) for step in steps],
        [dict(step, name="No.such") for step in steps],
        [dict(step, args={}) for step in steps],
        [dict(step, args=str(step["args"])) for step in steps],
        [dict(step, args="same") for step in steps[::-1]],
    ):  # fmt: skip
        if {step["name"] for step in listed if isinstance(step, dict)} != {plans.FINISH}:  # theirs stops with an error
            yield json.dumps(listed)
            yield str(listed)
    yield from (f"```json\n{text}\n```", f"Here: {text} Good luck.", text[:-2], text[1:], text.replace('"', "'"), "",
                "I cannot plan this.", f"{{'plan': {text}}}", text.replace('"id"', '"ID"'), f"{text}\n{text}")
    for order in (names, names[::-1], names * 2, [name for name in names if rng.random() < 0.5], ["No.such"]):
        yield "\n".join(f"{i}. Call {name}." for i, name in enumerate(order, 1))
        yield " ".join(f"First use {name} with {steps[0]['args']}. Rest." for name in order)
        yield ", then ".join(order)


def choice_replies(gold, rng):
    """A choice made right and wrong in many ways."""
    for letter in (gold["answer"], *rng.choice(list("ABCDEFabcd"), 3)):
        yield from (letter, f"Answer: {letter}", f"Answer:\n\n{letter}.", f"{letter}: because", f"It is {letter}",
                    f"Answer: ({letter})", f"answer : {letter} -- Success", f"Thought: no\nAnswer: {letter}",
                    f"```\nAnswer: {letter}\n```", f"Answer:{letter}{letter}", f"\u00a0{letter}")  # fmt: skip
    yield from ("", ":", "Answer:", "Internal error", "Can't tell", "Answer: \u0410")


def call_replies(gold, rng):
    """A call made right and wrong in many ways."""
    as_text = {key: str(value) for key, value in CALL["args"].items()}
    keys = {"thought": "goal", "name": "name", "args": "args"}
    for made in (
        CALL, CALL["args"], {}, {"name": CALL["name"]},
        *(dict(CALL, args=args) for args in (as_text, {}, "Ulm", {"place": "ulm", "k": 1})),
        dict(CALL, name="Map.route"), dict(CALL, thought="find a town"),
    ):  # fmt: skip
        keyed = {keys.get(key, key): value for key, value in made.items()}
        lines = f"goal:{made.get('thought')}\n\nname: {made.get('name')}\n\nargs: {made.get('args')}"
        yield from (json.dumps(made), str(made), json.dumps(keyed), str(keyed), f"```json\n{json.dumps(keyed)}\n```",
                    f"So {made}.", lines, f"Hm.\n{lines}\n\n{lines}", lines.replace("\n\n", "\n"))  # fmt: skip
    yield from ("", "Map.find_town", "Map.find_town and Map.route", "use Map.find_town.", "FinishAction", "find the",
                "'Ulm'", str(CALL["args"]), f'"{CALL["args"]}"', "[]", "3", "name: x", "x.y Map.find_town")  # fmt: skip


REPLIES = {reading.REVIEW: choice_replies, reading.PLAN_JSON: plan_replies, reading.PLAN_STR: plan_replies}


def disagreements(upstream, part, rows):
    """Return how many replies both scored, and those that they scored differently."""
    rng, compared, differ = np.random.default_rng(0), 0, []
    for each in rows:
        for reply in REPLIES.get(part, call_replies)(each["ground_truth"], rng):
            other = theirs(upstream, part, each, reply)
            ours = score.one(part, each, reply, embedding.by_letters)
            compared += 1
            if any(ours[name] != pytest.approx(value, abs=1e-6) for name, value in other.items()):
                differ.append((reply, ours, other))
    return compared, differ


@pytest.mark.parametrize(("part", "form"), [(part, "") for part in reading.PARTS if part != reading.INSTRUCT]
                         + [(reading.INSTRUCT, "json"), (reading.INSTRUCT, "string")])  # fmt: skip
def test_our_scores_are_upstreams_on_invented_rows(part, form, upstream):
    golds = [plan(*names) for names in (TOOLS, TOOLS[:2], TOOLS[:3] * 3, TOOLS[::-1])] if "plan" in part else [None]
    compared, differ = disagreements(upstream, part, [row(part, gold, form) for gold in golds])
    assert not differ
    assert compared > 40


@pytest.mark.parametrize("part", [reading.REVIEW, reading.PLAN_JSON, reading.PLAN_STR])
def test_our_scores_are_upstreams_on_the_published_rows(part, upstream, real_data):
    rows = reading.read(next((real_data / "teval_v1").glob(f"{part}*.json"))).rows.values()
    compared, differ = disagreements(upstream, part, rows)
    print(f"{part}: {len(rows)} rows, {compared} replies compared, {len(differ)} differ")
    assert not differ
