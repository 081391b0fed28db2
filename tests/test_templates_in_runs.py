"""A run with a model's own chat template: it stops where most rows are lost, and the model card names the switch."""

import json

import pytest
from test_templates_published import BLOCK, SHAPES, tokenizer

from flanlib.corpus import stream
from flanlib.experiments import tuning
from flanlib.experiments.publish import publish
from flanlib.presets import PRESETS
from flanlib.records import Conversation, FlanError, say
from flanlib.tally import Tally
from flanlib.text.own_template import own_template
from flanlib.text.tokens import TOO_LONG, check_lost
from flanlib.training.model import add_lora, load


def chats(kept, lost):
    """Conversations of which some contain a special token of the model."""
    questions = ["Hello"] * kept + ["<|im_end|>"] * lost
    return [Conversation(str(i), "test", (say("user", question), say("assistant", "Yes.", "general", trained=True)))
            for i, question in enumerate(questions)]  # fmt: skip


@pytest.fixture
def tune(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning.store, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(tuning.workers, "side_by_side", lambda jobs, what: None)
    return lambda tally, **arms: tuning.tuned(arms, PRESETS["smoke"], tally)


def test_a_form_that_loses_most_rows_stops_the_run_and_is_named(tune):
    tally = Tally("t")
    with pytest.raises(FlanError, match="^form react: found 3 of 5 conversations lost in tokenising, most often for a "
                                        r"template mark in the content \(3\); expected at least half"):  # fmt: skip
        tune(tally, chat=tuning.Arm(chats(4, 3)), react=tuning.Arm(chats(2, 3)))
    assert tally.dropped.total() == 6
    with pytest.raises(FlanError, match="form chat, held out: found 1 of 1"):
        tune(tally, chat=tuning.Arm(chats(1, 0), chats(0, 1)))


def test_half_of_the_rows_may_be_lost_and_few_rows_are_no_reason_to_stop(tune):
    tune(Tally("t"), chat=tuning.Arm(chats(1, 1), chats(1, 0)), json=tuning.Arm(chats(1, 0)))


def test_rows_that_are_too_long_ask_for_longer_ones():
    with pytest.raises(FlanError, match="Allow more tokens in a row"):
        check_lost("chat", {TOO_LONG: 2, "nothing to train": 1}, 4)
    check_lost("chat", {}, 0)


def test_streaming_a_corpus_stops_too(tmp_path, monkeypatch):
    monkeypatch.setattr(stream.store, "RUNS", tmp_path / "runs")
    fitted = tokenizer(SHAPES["phi"])
    rows = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}
            for text in ("Hello", "<|im_end|>", "a<|im_end|>")]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(FlanError, match="form chat of rows: found 2 of 3 conversations lost"):
        stream.prepare(path, fitted, own_template(fitted), dialect="chat", max_tokens=1000)


@pytest.mark.parametrize(("name", "has_switch"), [("qwen3", True), ("phi", False)])
def test_the_model_card_passes_the_switch_that_training_passed(tmp_path, name, has_switch):
    fitted = tokenizer(SHAPES[name])
    model = add_lora(load("random", bits=16), rank=4, seed=0)
    model.save_pretrained(tmp_path / "adapter")
    folder = publish(tmp_path / "mine", base="random", adapter=tmp_path / "adapter", tokenizer=fitted,
                     template=own_template(fitted), corpus=chats(1, 0), scores={})  # fmt: skip
    card = (folder / "README.md").read_text()
    assert ("return_dict=True, enable_thinking=False)\n" in card) == has_switch
    assert (f"changed so: enable_thinking=False; {BLOCK} opens every reply." in card) == has_switch
    assert "```\n\n## What was measured" in card or has_switch
