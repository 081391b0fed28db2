"""What is published works with transformers and TRL alone, and says what was measured."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flanlib.benchmarks import Prompt
from flanlib.generate import Decoding, dense, generate
from flanlib.lab import talk
from flanlib.model import add_lora, load
from flanlib.presets import LAB_BASE
from flanlib.publish import publish
from flanlib.records import FlanError, say
from flanlib.templates import get_template
from flanlib.tokens import load_tokenizer

SCORES = pd.DataFrame({"score": ["retrieval"], "value": [0.5], "n": [48]})
CHATS = talk.conversations(12, rng=np.random.default_rng(2))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tokenizer = load_tokenizer(LAB_BASE)
    template = get_template("agent_flan", tokenizer)
    model = add_lora(load(str(LAB_BASE)), rank=4, seed=0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.01, generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(folder / "adapter")
    told = {"base": str(LAB_BASE), "adapter": folder / "adapter", "tokenizer": tokenizer, "template": template}
    return publish(folder / "mine", corpus=CHATS, scores=SCORES, **told), told


def test_plain_transformers_gives_the_replies_that_the_kit_gives(published):
    folder, told = published
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    asked = [say("system", "Be polite."), say("user", "Repeat after me: sunflower")]
    chat = [{"role": turn.role, "content": turn.text} for turn in asked]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    new = model.generate(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], do_sample=False,
                         max_new_tokens=24, tokenizer=tokenizer)  # fmt: skip
    mine = generate(dense(told["base"], told["adapter"]), told["tokenizer"], told["template"],
                    [Prompt("p", tuple(asked))], decoding=Decoding(24), label=None)[0]  # fmt: skip
    written = tokenizer.decode(new[0, ids["input_ids"].shape[1] :])
    assert written.split(told["template"].end.strip())[0] == mine.text
    assert mine.text


def test_the_card_tells_the_scores_and_the_corpus_is_beside_it(published):
    folder, _ = published
    card = (folder / "README.md").read_text()
    assert "| retrieval | 0.500 | 48 |" in card
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [chat.id for chat in CHATS]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_nothing_is_written_over(published):
    folder, told = published
    with pytest.raises(FlanError, match="Name another"):
        publish(folder, corpus=CHATS, scores=SCORES, **told)


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
