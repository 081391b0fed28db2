"""Rows of T-Eval's parts, invented for tests."""

from flanlib.benchmarks.t_eval import plans, reading

TOOLS = ["Map.find_town", "Map.route", "Bank.balance", "Bank.pay", "Post.send"]


def plan(*names):
    """The right plan of some tools, as T-Eval writes it."""
    steps = [{"id": i, "prev": [], "name": name, "args": {"place": f"town {i}"}} for i, name in enumerate(names)]
    return [*steps, {"id": len(names), "prev": [], "name": plans.FINISH, "args": {}}]


GOLD = plan(*TOOLS[:4])
TEMPLATES = {"json": {"thought": "goal", "action": "name", "args": "args"},
             "string": {"thought_start": "goal:", "thought_end": "\n\n", "action_start": "name:", "action_end": "\n\n",
                        "args_start": "args:", "args_end": ""}}  # fmt: skip
CALL = {"thought": "find the town", "name": "Map.find_town", "args": {"place": "Ulm", "n": 2}}


def row(part, gold=None, form=""):
    """A row of a part, with everything that its evaluator reads."""
    form = form or part.rpartition("_")[2]
    if part.startswith("plan"):
        return {"meta": {"prompt_type": form, "API_list": TOOLS}, "ground_truth": gold or GOLD, "origin_prompt": []}
    default = {reading.INSTRUCT: {"action": CALL["name"], "args": CALL["args"]},
               reading.REVIEW: {"answer": "C"}}.get(part, CALL)  # fmt: skip
    return {"meta_data": {"response_format": form}, "ground_truth": gold or default, "origin_prompt": [],
            "template": TEMPLATES.get(form, "")}  # fmt: skip
