"""What is published works with transformers and TRL alone, and says what was measured."""

import json
import runpy
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from flanlib.benchmarks import Prompt
from flanlib.dialects import elicit, render
from flanlib.experiments import call
from flanlib.experiments import publish as publishing
from flanlib.experiments.publish import publish
from flanlib.inference.generate import Decoding, Writer, dense
from flanlib.pretrained import folder as model_folder
from flanlib.records import Conversation, FlanError, Step, Tool, Trajectory, say
from flanlib.tally import Tally
from flanlib.text.templates import get_template, jinja
from flanlib.text.tokens import CONTEXT, encode_all, load_tokenizer
from flanlib.training.model import add_lora, load

SCORES = {"Held-out requests": pd.DataFrame({"score": ["retrieval"], "value": [0.5], "n": [48]}),
          "Agent-H": pd.DataFrame({"score": ["plain reply"], "value": [2 / 3], "n": [9]})}  # fmt: skip
FARE = Tool("get_fare", "The fare of a town.", {"properties": {"town": {"type": "string"}, "for": {"type": "integer"}},
                                                "required": ["town", "for"]})  # fmt: skip
LOOK = Step("I look up the fare.", "get_fare", {"town": "Köln", "for": 2}, "3 euros")
TRIP = Trajectory("trip", "made", "What is the fare to Köln for 2?", (FARE,), (LOOK,), "It is 3 euros.",
                  "I know it now.", "Be kind.")  # fmt: skip
CHATS = [Conversation(f"c{i}", "made", (say("user", f"What is {i} and {i}?"),
                                        say("assistant", f"It is {2 * i}.", "general", trained=True)))
         for i in range(12)]  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tokenizer = load_tokenizer(model_folder("random"))
    template = get_template("agent_flan", tokenizer)
    model = add_lora(load("random", bits=16), rank=4, seed=0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(folder / "adapter")
    run = {"config": {"schedule": {"rate": 0.003, "seed": 7, "rows_per_step": 2}, "row_tokens": 512, "lora_rank": 4,
                      "bits": 16}, "steps": 5, "rows": 12, "tokens": 900, "trained_tokens": 345, "date": "2026-01-02",
           "computed_in": "float32", "machine": "a computer"}  # fmt: skip
    (folder / "adapter" / "manifest.json").write_text(json.dumps(run))
    read = Tally("my_rows", kept=12, dropped={"no turns": 3}, first={"no turns": "x"})
    arguments = {"example": TRIP, "tallies": [read], "base": "random", "adapter": folder / "adapter",
                 "tokenizer": tokenizer, "template": template}  # fmt: skip
    return publish(folder / "mine", corpus=CHATS, scores=SCORES, **arguments), arguments


def test_plain_transformers_gives_the_replies_that_the_kit_gives(published):
    folder, arguments = published
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    turns = [say("system", "Be polite."), say("user", "Repeat after me: sunflower")]
    chat = [{"role": turn.role, "content": turn.text} for turn in turns]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    new = model.generate(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], do_sample=False,
                         max_new_tokens=24, tokenizer=tokenizer)  # fmt: skip
    write = Writer(dense(arguments["base"], arguments["adapter"]), arguments["tokenizer"], arguments["template"],
                   Decoding(24))  # fmt: skip
    [mine] = write.replies([Prompt("p", tuple(turns))])
    written = tokenizer.decode(new[0, ids["input_ids"].shape[1] :])
    assert written.split(arguments["template"].end.strip())[0] == mine.text
    assert mine.text


def test_the_card_tells_the_scores_and_the_corpus_is_beside_it(published):
    folder, _ = published
    card = (folder / "README.md").read_text()
    assert "### Held-out requests\n\n| score | value | n |\n| --- | --- | --- |\n| retrieval | 0.5 | 48 |" in card
    assert "### Agent-H\n\n| score | value | n |\n| --- | --- | --- |\n| plain reply | 0.6667 | 9 |" in card
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [chat.id for chat in CHATS]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert "base_model: random\nlibrary_name" in card


def test_the_card_tells_the_run_and_what_was_read(published):
    card = (published[0] / "README.md").read_text()
    for line in ("LoRA rank | 4", "peak learning rate | 0.003", "seed | 7", "trained tokens | 345",
                 "bits of a frozen weight | 16", "computed in | float32 on a computer"):  # fmt: skip
        assert f"| {line} |" in card
    assert "### my_rows\n\n| what | rows |\n| --- | --- |\n| seen | 15 |\n| kept | 12 |\n| dropped: no" in card
    assert not (published[0] / "adapter" / "manifest.json").exists()


def test_the_example_runs_in_plain_transformers_and_says_what_the_kit_says(published, monkeypatch, capsys):
    folder, arguments = published
    settings = json.loads((folder / "call.json").read_text())
    (folder / "call.json").write_text(json.dumps(settings | {"longest": 20}))
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "flanlib", None)  # an import of it would raise an error
        runpy.run_path(str(folder / "call.py"), run_name="__main__")
    turns = render(TRIP, "chat").turns[:2]
    write = Writer(dense(arguments["base"], arguments["adapter"]), arguments["tokenizer"], arguments["template"],
                   Decoding(20))  # fmt: skip
    [first] = write([Prompt("p", turns)])
    out = capsys.readouterr().out
    assert first
    assert out.startswith(f"[system] {turns[0].text}\n[user] {turns[1].text}\n[assistant] {first}")
    assert "[user] Which tool would you call?\n[assistant] get_fare\n[user] What should `town` be?" in out
    assert "\n[user] It returned: 3 euros\n[assistant] " in out


@pytest.mark.parametrize("thinks", [True, False])
def test_the_example_leads_the_dialogue_that_the_model_was_trained_on(published, thinks):
    """An oracle that says what the trajectory says: statements may be in other words, and all else is equal."""
    trip = TRIP if thinks else replace(TRIP, steps=(replace(LOOK, thought=""),), answer_thought="")
    wanted = render(trip, "chat").turns
    replies = iter([turn.text for turn in wanted if turn.role == "assistant"])
    example = json.loads(json.dumps(publishing._call(trip, published[1]["template"])))
    oracle = SimpleNamespace(reply=lambda messages: next(replies), choose=lambda messages, among: next(replies))
    messages = call.talk(oracle, example)
    assert [one["role"] for one in messages] == [turn.role for turn in wanted]
    said = (*elicit.ACTION, *elicit.ANSWER)
    for one, turn in zip(messages, wanted, strict=True):
        if turn.role != "user":
            assert one["content"] == turn.text
    users = [one["content"] for one in messages if one["role"] == "user"]
    asks = [text.rpartition("\n\n")[2] for text in users if "`" not in text]
    assert [text in said for text in asks] == ([False, True, False, True] if thinks else [True, True])
    pairs = [tuple(text.split(name)) for text, name in zip([text for text in users if "`" in text], ("town", "for"),
                                                           strict=True)]  # fmt: skip
    assert all(pair in elicit.ARGUMENT for pair in pairs)
    result = next(text for text in users if "3 euros" in text)
    assert result.partition("3 euros")[0] in elicit.RESULT


def test_without_a_call_to_show_there_is_no_example(published, tmp_path):
    folder = publish(tmp_path / "mine", corpus=CHATS, scores={}, **published[1] | {"example": replace(TRIP, steps=())})
    assert not list(folder.glob("call.*"))
    assert "call.py" not in (folder / "README.md").read_text()
    assert "Nothing yet." in (folder / "README.md").read_text()


def test_the_example_names_the_tool_that_is_likeliest_by_its_whole_loss(published):
    folder, arguments = published
    example = publishing._call(TRIP, arguments["template"])
    model = call.Model(folder, example)
    messages, names = [{"role": "user", "content": "Which tool?"}], ["get_fare", "fly", "get"]

    def loss(name):
        talk = Conversation("c", "made", (say("user", "Which tool?"), say("assistant", name, "general", trained=True)))
        [row] = encode_all([talk], arguments["tokenizer"], arguments["template"], max_tokens=99, tally=Tally("t"))
        ids, kinds = torch.tensor(row.ids)[None].long(), torch.tensor(row.kinds)[None]
        mean = model.model(input_ids=ids, labels=ids.where(kinds != CONTEXT, -100)).loss.item()
        return mean * row.trained

    assert model.choose(messages, names) == min(names, key=loss)


def test_rows_without_a_list_of_tools_give_an_example_too(published):
    bare = replace(TRIP, tools=())
    assert publishing._call(bare, published[1]["template"])["tools"] == {"get_fare": ["town", "for"]}


def test_the_adapter_alone_goes_onto_its_base_and_names_no_folder_of_this_machine(published):
    folder, arguments = published
    adapted = PeftModel.from_pretrained(load("random", bits=16), folder / "adapter").eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        alone, merged = (model(input_ids=ids.to(model.device), use_cache=False).logits
                         for model in (adapted, dense(arguments["base"], arguments["adapter"])))  # fmt: skip
    assert torch.allclose(alone, merged, atol=1e-4)
    here = model_folder("random")
    for path in folder.rglob("*"):
        assert path.is_dir() or here.encode() not in path.read_bytes(), path


def test_the_base_and_its_licence_are_named_as_far_as_they_are_known(tmp_path):
    assert publishing._origin("smollm2") == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
    assert publishing._origin("owner/model") == ("owner/model", "")
    base = tmp_path / "mine"
    base.mkdir()
    assert publishing._origin(str(base)) == ("mine", "")
    (base / "README.md").write_text("---\ntags: [a]\nlicense: mit\n---\n\nlicense: gpl\n")
    assert publishing._origin(str(base)) == ("mine", "mit")
    (base / "README.md").write_text("license: gpl\n")
    assert publishing._origin(str(base)) == ("mine", "")
    for said, name in (("owner/model", "owner/model"), ("/home/me/a", "mine"), ("a/b/c", "mine"), (None, "mine")):
        (base / "config.json").write_text(json.dumps({"_name_or_path": said}))
        assert publishing._origin(str(base)) == (name, "")
    cached = tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / "0a1b"
    cached.mkdir(parents=True)
    assert publishing._origin(str(cached)) == ("Qwen/Qwen3-0.6B", "")


def test_nothing_is_written_over(published):
    folder, arguments = published
    with pytest.raises(FlanError, match="Name another"):
        publish(folder, corpus=CHATS, scores=SCORES, **arguments)


def test_the_corpus_trains_in_trl(published, tmp_path):
    trl = pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[bench]'")
    from datasets import Dataset

    folder, _ = published
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    data = Dataset.from_list([{"messages": [{k: m[k] for k in ("role", "content")} for m in row["messages"]]}
                              for row in rows])  # fmt: skip
    settings = trl.SFTConfig(output_dir=str(tmp_path), max_steps=10, per_device_train_batch_size=1, use_cpu=True,
                             bf16=False, report_to="none", assistant_only_loss=True, save_strategy="no",
                             disable_tqdm=True, gradient_checkpointing=False)  # fmt: skip
    trainer = trl.SFTTrainer(AutoModelForCausalLM.from_pretrained(folder), args=settings, train_dataset=data,
                             processing_class=AutoTokenizer.from_pretrained(folder))  # fmt: skip
    assert trainer.train().training_loss > 0


def test_servers_find_one_chat_template_wherever_they_look(published):
    folder, arguments = published
    text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert json.loads((folder / "tokenizer_config.json").read_text())["chat_template"] == text
    assert text == jinja(arguments["template"])


def test_the_card_names_the_version_and_a_stop_text_of_several_tokens(published):
    folder, arguments = published
    card, end = (folder / "README.md").read_text(encoding="utf-8"), arguments["template"].end.strip()
    assert f"Saved by transformers {transformers.__version__};" in card
    assert f'max_new_tokens=200, stop_strings=["{end}"], tokenizer=tokenizer)' in card
    assert "stop_strings" not in (folder / "generation_config.json").read_text()
