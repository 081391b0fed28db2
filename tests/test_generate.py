"""Replies end where they should, come in order, and agree with transformers' own; nothing is read twice."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaConfig, MistralConfig, MistralForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from flanlib import pretrained
from flanlib.benchmarks import Prompt, episodes, steps
from flanlib.benchmarks.intention import Intention
from flanlib.dialects import render
from flanlib.inference import cache
from flanlib.inference import generate as g
from flanlib.lab import tasks
from flanlib.records import say
from flanlib.text.templates import Template, get_template
from flanlib.text.tokens import load_tokenizer
from flanlib.training.attention import by_document
from flanlib.training.model import add_lora, load, load_adapter

NAME = "random"
TOKENIZER = load_tokenizer(pretrained.folder(NAME))
TEMPLATE = get_template("agent_flan", TOKENIZER)
OWN = get_template("own", TOKENIZER)


class Scripted(torch.nn.Module):
    """A model that says a given text after each prompt, and then the same letter for ever."""

    def __init__(self, says, template=TEMPLATE, positions=4096):
        super().__init__()
        self.config = LlamaConfig(vocab_size=len(TOKENIZER), hidden_size=64, num_attention_heads=1,
                                  num_hidden_layers=1, max_position_embeddings=positions)  # fmt: skip
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.says, self.sizes = {}, []
        for prompt, text in says.items():
            ids = TOKENIZER(g.prompt_text(prompt, template), add_special_tokens=False).input_ids
            reply = TOKENIZER("1" + text, add_special_tokens=False).input_ids  # a digit is a token of its own
            self.says[tuple(ids)] = reply[1:] if text else []
        self.rest = TOKENIZER("z", add_special_tokens=False).input_ids[0]

    def forward(self, input_ids, attention_mask, position_ids, past_key_values, use_cache, logits_to_keep):
        # The cache's keys are the ids themselves: a row that is let go, moved or mixed up would say something else.
        keys = input_ids[:, None, :, None].float()
        seen = past_key_values.update(keys, keys, 0)[0][:, 0, :, 0].long()
        self.sizes.append(len(seen))
        logits = torch.zeros(len(seen), 1, self.config.vocab_size)
        for i, (row, mask) in enumerate(zip(seen.tolist(), attention_mask.tolist(), strict=True)):
            assert len(row) == len(mask)
            text = tuple(token for token, kept in zip(row, mask, strict=True) if kept)
            assert position_ids[i, -1] == len(text) - 1
            start = next((ids for ids in self.says if text[: len(ids)] == ids), text)
            said = self.says.get(start, [])[len(text) - len(start) :]
            logits[i, 0, said[0] if said else self.rest] = 1
        return CausalLMOutputWithPast(logits=logits)


def ask(text, id="1", **more):
    return Prompt(id, (say("user", text),), **more)


def generate(model, tokenizer, template, prompts, *, decoding=g.GREEDY, **more):
    return g.Writer(model, tokenizer, template, decoding, keep=0, **more).replies(prompts)


def run(says, *, template=TEMPLATE, most=12, **more):
    model = Scripted(says, template)
    return generate(model, TOKENIZER, template, list(says), decoding=g.Decoding(max_new_tokens=most), **more)


def test_a_reply_ends_at_the_mark_the_stop_text_or_its_length():
    told = run({
        ask("a"): "Yes. \u0d3f\n more", ask("b", stop=("\n",)): " get_fare\nAction", ask("c"): "",
        ask("d"): "Hi<|Human|>\u0d46 Then", ask("e"): " bye<|im_end|>x", ask("f"): "\u0d3f",
        ask("g", stop=("re",)): "\u0d3fre",
    }, most=24)  # fmt: skip
    assert [(reply.text, reply.ended) for reply in told] == [
        ("Yes. ", "end"), (" get_fare", "stop"), ("z" * 24, "length"), ("Hi", "mark"), (" bye", "mark"), ("", "end"),
        ("", "end")]  # fmt: skip


@pytest.mark.parametrize("end", ["</turn>", " \n\n##\n", "\u0d3e\u0d3f", " <|end|>"])
def test_an_end_of_turn_of_several_tokens_is_seen_and_cut_off(end):
    template = Template("t", ("S: ", "\n"), ("U: ", "\n"), open="A:", lead=" ", end=end, close="\n")
    assert len(TOKENIZER(end).input_ids) > 1
    told = run({ask("x"): f" Yes, {end}", ask("y", begun="Well"): f" no{end}", ask("z"): f"Yes{end[:-1]}"},
               template=template, most=20)  # fmt: skip
    if end == end.strip():  # white space around the mark is not waited for
        assert told[2].ended == "length"
    assert [reply[0] for reply in told[:2]] == ["Yes, ", " no"]
    assert [reply.ended for reply in told[:2]] == ["end"] * 2


def test_replies_stand_in_the_order_of_prompts_whatever_their_lengths():
    says = {ask("go" + " word" * (i * 7 % 23) + f" {i}", str(i)): f" reply {i}" + "\u0d3f" for i in range(30)}
    for tokens, refill in ((1, 0), (300, 0), (300, 0.01), (300, 1), (10_000, 0.5)):
        told = run(says, tokens_per_batch=tokens, refill=refill)
        assert [reply.text for reply in told] == [f" reply {i}" for i in range(30)]


def test_finished_rows_leave_the_batch_and_the_rest_goes_on():
    says = {ask(f"go {i}", str(i)): " word" * i + "\u0d3f" for i in range(10)}
    model = Scripted(says)
    told = generate(model, TOKENIZER, TEMPLATE, list(says), decoding=g.Decoding(max_new_tokens=30))
    assert [reply.text for reply in told] == [" word" * i for i in range(10)]
    sizes = model.sizes[model.sizes.index(10) :]  # before that, prompts are read
    assert sizes[-1] <= 3
    assert sum(sizes) < 0.8 * 10 * len(sizes)


def test_prompts_that_wait_take_the_places_of_rows_that_ended(monkeypatch):
    # Of a batch of 8 one reply is long. Without a refill its last tokens are written alone, once for every batch.
    says = {ask(f"go {i:02}", str(i)): " word" * (9 if i % 8 == 0 else i % 3) + "\u0d3f" for i in range(64)}
    longest, real, sizes = len(ids_of(ask("go 00"), TEMPLATE)), g.Batch.logits, {0: [], 0.1: []}
    for refill, each in sizes.items():
        monkeypatch.setattr(g.Batch, "logits", lambda self, each=each: each.append(len(self.rows)) or real(self))
        told = run(says, most=30, refill=refill, tokens_per_batch=8 * (longest + 30))
        assert [reply.ended for reply in told] == ["end"] * 64
        assert max(each) == 8
    assert len(sizes[0.1]) < 0.6 * len(sizes[0])
    assert np.mean(sizes[0.1]) > 5 > np.mean(sizes[0])


def test_a_prompt_that_does_not_fit_is_told_and_never_cut():
    prompts = {ask("short"): "ok\u0d3f", ask("word " * 90): "no\u0d3f"}
    model = Scripted(prompts, positions=64)
    hidden = ask("a <|Human|>\u0d46 mark")
    told = generate(model, TOKENIZER, TEMPLATE, [*prompts, hidden], decoding=g.Decoding(max_new_tokens=20))
    assert told == [("ok", "end"), ("", "too long"), ("", "unfit")]
    assert generate(model, TOKENIZER, TEMPLATE, []) == []


def test_the_mode_of_the_model_is_restored():
    prompts = {ask("x"): "ok\u0d3f"}
    model = Scripted(prompts).train()
    generate(model, TOKENIZER, TEMPLATE, list(prompts), decoding=g.Decoding(max_new_tokens=4))
    assert model.training


@lru_cache
def loud():
    """The tiny model with weights so large that every token counts."""
    return louder(g.dense(NAME))


def louder(model):
    with torch.no_grad():
        for i, weight in enumerate(model.parameters()):
            if weight.dim() == 2:
                weight.normal_(0, 0.25, generator=torch.Generator().manual_seed(i))
    return model


def ids_of(prompt, template=OWN):
    return TOKENIZER(g.prompt_text(prompt, template), add_special_tokens=False).input_ids


@lru_cache(maxsize=4096)
def plain(model, row, most):
    """Text of transformers' own greedy reply."""
    config = GenerationConfig(max_new_tokens=most, do_sample=False, eos_token_id=None, pad_token_id=0)
    ids = model.generate(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=int),
                         generation_config=config)[0, len(row) :]  # fmt: skip
    return TOKENIZER.decode(ids.tolist())


def check(model, prompts, told, most):
    for prompt, reply in zip(prompts, told, strict=True):
        text = plain(model, tuple(ids_of(prompt)), most)
        assert text.startswith(reply.text)
        ends = {"end": (OWN.end.strip(),), "mark": OWN.marks, "stop": prompt.stop, "length": ("",)}[reply.ended]
        assert text.removeprefix(reply.text).startswith(ends)


def size_of(branch):
    return sum(keys.nbytes + values.nbytes for keys, values in branch.states)


def lab_prompts(n=3, protocol="react"):
    items = tasks.tasks(n, rng=np.random.default_rng(0))
    probes = [probe for item in items for probe in steps.probes(item, protocol, Intention({}, ""))]
    return list({probe.prompt.id: probe.prompt for probe in probes}.values())


@pytest.mark.parametrize("protocol", ["chat", "react", "json"])
@pytest.mark.parametrize("batch", [1, 2000, None])
def test_replies_to_steps_are_those_of_transformers(batch, protocol):
    prompts = lab_prompts(2, protocol)
    told = generate(loud(), TOKENIZER, OWN, prompts, decoding=g.Decoding(max_new_tokens=8), tokens_per_batch=batch)
    check(loud(), prompts, told, 8)
    assert len({reply.text for reply in told}) > len(told) / 4


# A conversation is a row of words; a small alphabet, so that many begin alike. Some break the text off within a turn.
TALK = st.tuples(st.lists(st.sampled_from(["go", "see a town", "the fare of " * 9]), min_size=1, max_size=5),
                 st.sampled_from(["", "", "Well", "Well, I"]), st.sampled_from([(), ("e",)]))  # fmt: skip


def talk(words, begun, stop, id):
    words = words[: len(words) - (len(words) + 1) % 2]
    return Prompt(id, tuple(say("assistant" if i % 2 else "user", text) for i, text in enumerate(words)), begun, stop)


@settings(max_examples=10, deadline=None)
@given(st.lists(TALK, min_size=1, max_size=9), st.sampled_from([1, 60, 400, None]), st.sampled_from([0, 4000, 2**30]),
       st.integers(0, 3), st.sampled_from([0, 0.01, 0.4, 1]))  # fmt: skip
def test_replies_round_after_round_are_those_of_transformers(talks, batch, keep, change, refill):
    writer = g.Writer(loud(), TOKENIZER, OWN, g.Decoding(max_new_tokens=7), tokens_per_batch=batch, keep=keep,
                      refill=refill)  # fmt: skip
    prompts = [talk(*words, str(i)) for i, words in enumerate(talks)]
    for count in range(3):
        check(loud(), prompts, told := writer.replies(prompts), 7)
        held = {branch for kept in writer._kept for branch in kept.chain()}
        assert sum(map(size_of, held)) <= keep
        # What the model said goes on in other tokens than its own, where it broke off in the middle of a letter.
        prompts = [
            Prompt(
                one.id,
                (*one.turns, say("assistant", (one.begun + reply.text).strip() or "x"), say("user", f"then {count}")),
            )
            for one, reply in zip(prompts, told, strict=True)
        ]
        if change == 1:  # another past
            prompts = [Prompt(one.id, (say("user", "no"), *one.turns[1:])) for one in prompts]
        prompts = prompts[change // 2 :] or prompts  # some have ended


@pytest.mark.parametrize("protocol", ["chat", "react"])
def test_what_prompts_share_is_read_once_and_then_never_again(protocol):
    prompts = lab_prompts(4, protocol)
    rows = [ids_of(one) for one in prompts]
    writer = g.Writer(loud(), TOKENIZER, OWN, g.Decoding(max_new_tokens=2))
    writer.replies(prompts)
    different = {tuple(row[:i]) for row in rows for i in range(1, len(row))}
    assert writer.tokens_read == len(different) + len(rows)  # a prompt's last token gives the reply's first
    assert writer.tokens_read < sum(map(len, rows)) / 3
    before = writer.tokens_read
    writer.replies(prompts)
    assert writer.tokens_read - before == len(rows)


def test_a_next_round_reads_only_what_is_new():
    writer = g.Writer(loud(), TOKENIZER, OWN, g.Decoding(max_new_tokens=6))
    prompts = [ask("where is " + "that town " * i, str(i)) for i in range(12)]
    for _ in range(3):
        told, read = writer.replies(prompts), writer.tokens_read
        following = [Prompt(one.id, (*one.turns, say("assistant", reply.text.strip() or "x"), say("user", "and then?")))
                     for one, reply in zip(prompts, told, strict=True)]  # fmt: skip
        writer.replies(following)
        most = sum(len(ids_of(b)) - len(ids_of(a)) + 1 for a, b in zip(prompts, following, strict=True))
        assert writer.tokens_read - read <= most
        prompts = following


def test_what_does_not_fit_is_not_kept_and_the_first_stay():
    model, prompts = loud(), [ask(f"{i} " + "that town " * 20, str(i)) for i in range(12)]
    size = cache.bytes_per_token(model)
    writer = g.Writer(model, TOKENIZER, OWN, g.Decoding(max_new_tokens=2), keep=4 * size * len(ids_of(prompts[0])))
    writer.replies(prompts)
    assert 3 <= len(writer._kept) <= 6
    assert all(f"{i} that" in TOKENIZER.decode(branch.ids) for i, branch in enumerate(writer._kept))
    assert size == size_of(writer._kept[0]) // len(writer._kept[0].own)


def test_a_model_with_a_sliding_window_reads_every_prompt_whole():
    config = MistralConfig(vocab_size=len(TOKENIZER), hidden_size=64, intermediate_size=64, num_hidden_layers=2,
                           num_attention_heads=2, num_key_value_heads=1, sliding_window=16,
                           max_position_embeddings=2048)  # fmt: skip
    model = louder(by_document(MistralForCausalLM(config)).eval())
    prompts = lab_prompts(1, "chat")
    writer = g.Writer(model, TOKENIZER, OWN, g.Decoding(max_new_tokens=8))
    check(model, prompts, writer.replies(prompts), 8)
    assert writer.tokens_read == sum(len(ids_of(one)) for one in prompts)
    check(model, prompts[:2], writer.replies(prompts[:2]), 8)


def test_sampling_repeats_with_its_seed_and_differs_with_another():
    model, prompts = g.dense(NAME), lab_prompts(2)[:6]

    def texts(**how):
        return [r.text for r in generate(model, TOKENIZER, OWN, prompts,
                                         decoding=g.Decoding(max_new_tokens=12, **how))]  # fmt: skip

    before = torch.random.get_rng_state()
    warm = texts(temperature=1.5, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert warm == texts(temperature=1.5, seed=1)
    assert warm != texts(temperature=1.5, seed=2)
    assert texts(temperature=1.5, top_p=1e-6, seed=2) == texts() == texts(temperature=1e-4, seed=3)


@pytest.mark.parametrize("bits", [4, 16])
def test_a_merged_model_replies_as_the_adapter_on_its_base(tmp_path, bits):
    tuned = add_lora(load(NAME, bits=bits), rank=4, seed=0)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:  # as after training: zero at first
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    tuned.save_pretrained(tmp_path / "adapter")
    apart = load_adapter(NAME, tmp_path / "adapter", bits=bits)
    merged = g.dense(NAME, tmp_path / "adapter", bits=bits)
    for module in apart.modules():
        if hasattr(module, "compute_dtype"):  # compare in fp32: rounding decides some of the replies in bfloat16
            module.compute_dtype = torch.float32
    prompts, how = lab_prompts(3), g.Decoding(max_new_tokens=12)
    told = [generate(model, TOKENIZER, OWN, prompts, decoding=how) for model in (apart, merged)]
    assert told[0] == told[1]
    assert told[1] != generate(g.dense(NAME, bits=bits), TOKENIZER, OWN, prompts, decoding=how)
    assert not [name for name, _ in merged.named_modules() if "lora" in name]
    assert {weight.dtype for weight in merged.parameters()} == {torch.float32}


def test_an_episode_s_rounds_are_written_as_from_nothing_and_read_a_fraction():
    items = tasks.tasks(4, rng=np.random.default_rng(1))
    said = {item.trajectory.id: [turn.text for turn in render(item.trajectory, "chat").turns
                                 if turn.role == "assistant"] for item in items}  # fmt: skip
    how = g.Decoding(max_new_tokens=5)
    kept, fresh = (g.Writer(loud(), TOKENIZER, OWN, how, keep=keep) for keep in (2**30, 0))

    def write(prompts):
        """Ask the model, and go on as the reference does."""
        assert kept(prompts) == fresh(prompts)
        return [said[one.id.split("/")[0]][sum(turn.role == "assistant" for turn in one.turns)] for one in prompts]

    assert all(episode.solved for episode in episodes.play(items, "chat", write))
    assert kept.tokens_read < 0.3 * fresh.tokens_read
