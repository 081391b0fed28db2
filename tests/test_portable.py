"""Published models and tokenizers: both major versions of transformers read them; ids without embedding are refused."""

import io
import json
import os
import subprocess
from copy import deepcopy
from dataclasses import replace

import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_templates import tiny_tokenizer
from tokenizers import processors
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen2Tokenizer

from flanlib import store
from flanlib.experiments.portable import ANY_CLASS, both_ways, save_model, save_tokenizer
from flanlib.experiments.tuning import Arm, tuned
from flanlib.presets import PRESETS
from flanlib.records import Conversation, FlanError, say
from flanlib.tally import Tally
from flanlib.text.templates import special_tokens
from flanlib.text.tokens import SAMPLE, load_tokenizer
from flanlib.training.model import check_ids

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "vocab_size": 400, "max_position_embeddings": 64, "pad_token_id": 0,
         "bos_token_id": 0, "eos_token_id": 3}  # fmt: skip
TURNED = {"rope_type": "default", "rope_theta": 25e4}
FAMILIES = {
    "llama": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
                                  "high_freq_factor": 4.0, "original_max_position_embeddings": 16}},
    "qwen2": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0,
                                  "original_max_position_embeddings": 16}, "tie_word_embeddings": True},
    "qwen3": {"rope_parameters": TURNED, "head_dim": 32},
    "qwen3_moe": {"rope_parameters": TURNED, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
                  "moe_intermediate_size": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "gpt_neox": {"rope_parameters": TURNED | {"partial_rotary_factor": 0.5}},
    "gemma": {"head_dim": 16}, "gemma3_text": {"head_dim": 16, "num_hidden_layers": 7, "sliding_window": 4},
    "mistral": {"rope_parameters": TURNED, "sliding_window": None},
    "phi": {"rope_parameters": TURNED | {"partial_rotary_factor": 0.5}},
    "phi3": {"original_max_position_embeddings": 16, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "long_factor": [1.5] * 8, "short_factor": [1.1] * 8,
        "original_max_position_embeddings": 16}},
}  # fmt: skip
IDS = torch.arange(5, 37)[None]
TEXTS = [SAMPLE, "<|im_start|>user\nHi<|im_end|> there<s>"]
# A python that has transformers 4.57, read before the tests' fixtures take settings away.
PYTHON_4 = os.environ.get("FLAN_TRANSFORMERS_4")
READ_4 = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
texts, folders = json.loads(sys.argv[1]), sys.argv[2:]
for folder in folders:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.arange(5, 37)[None], use_cache=False).logits
    print(json.dumps([tokenizer(texts).input_ids, list(tokenizer("a")), str(model.dtype), logits[0, -1].tolist()]))
"""


def with_bos(folder, **config):
    """Write the tiny tokenizer as its publisher would: its post-processor adds BOS."""
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 0)])
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def exported(source, folder):
    """Publish the tokenizer of a folder, and return the published one and its settings."""
    save_tokenizer(load_tokenizer(source), folder)
    return AutoTokenizer.from_pretrained(folder), json.loads((folder / "tokenizer_config.json").read_text())


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """An untrained model of each family: its published folder, its logits, its texts' ids."""
    root, results = tmp_path_factory.mktemp("families"), {}
    tokenizer = load_tokenizer(with_bos(root / "tokenizer"))
    ids = [[0, *row] for row in tokenizer(TEXTS, add_special_tokens=False).input_ids]
    for name, settings in FAMILIES.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = AutoConfig.for_model(name, **SMALL | settings)
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
            for p in model.parameters():
                if p.dim() > 1:
                    p.data.normal_(std=0.2)
        save_model(model, root / name)
        save_tokenizer(tokenizer, root / name)
        with torch.no_grad():
            results[name] = root / name, model(IDS, use_cache=False).logits[0, -1], ids
    return results


@pytest.mark.parametrize("name", FAMILIES)
def test_this_version_reads_the_published_folder_as_it_was(families, name):
    folder, logits, ids = families[name]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        assert torch.allclose(model(IDS, use_cache=False).logits[0, -1], logits, atol=1e-5)
    assert tokenizer(TEXTS).input_ids == ids


def test_transformers_4_reads_the_published_folder_as_it_was(families):
    if not PYTHON_4:
        pytest.skip("no transformers 4: set FLAN_TRANSFORMERS_4 to a python that has transformers 4.57 and torch")
    folders = [str(folder) for folder, *_ in families.values()]
    run = subprocess.run([PYTHON_4, "-c", READ_4, json.dumps(TEXTS), *folders], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = run.stdout.splitlines()
    for name, line in zip(families, lines, strict=True):
        read, fields, dtype, got = json.loads(line)
        _, logits, ids = families[name]
        assert read == ids, name
        assert (fields, dtype) == (["input_ids", "attention_mask"], "torch.float32")
        assert torch.allclose(torch.tensor(got), logits, atol=1e-4), name


def test_rotary_embeddings_and_precision_have_the_names_of_both_versions(families):
    written = {name: json.loads((folder / "config.json").read_text()) for name, (folder, *_) in families.items()}
    assert {config["torch_dtype"] for config in written.values()} == {"float32"}
    for name in ("qwen3", "mistral", "phi"):
        assert written[name]["rope_theta"] == written[name]["rope_parameters"]["rope_theta"] == 25e4
        assert "rope_scaling" not in written[name]
    assert written["phi"]["partial_rotary_factor"] == 0.5
    assert written["llama"]["rope_scaling"]["rope_type"] == "llama3"
    assert "rope_theta" not in written["llama"]["rope_scaling"]
    assert (written["gemma3_text"]["rope_theta"], written["gemma3_text"]["rope_local_base_freq"]) == (1e6, 1e4)
    assert written["qwen3_moe"]["num_experts"] == 4
    assert (written["gpt_neox"]["rotary_emb_base"], written["gpt_neox"]["rotary_pct"]) == (25e4, 0.5)
    assert set(written["phi3"]["rope_scaling"]) == {"type", "long_factor", "short_factor"}


@given(theta=st.floats(1e3, 1e7), factor=st.none() | st.floats(1, 64))
def test_the_old_names_alone_give_this_version_the_same_rotary_embeddings(theta, factor):
    rope = {"rope_type": "linear", "factor": factor} if factor else {"rope_type": "default"}
    written = both_ways(LlamaConfig(rope_parameters=rope | {"rope_theta": theta}).to_dict())
    expected = written.pop("rope_parameters")
    assert LlamaConfig(**written).rope_parameters == expected == rope | {"rope_theta": theta}


def test_nested_configurations_are_written_both_ways_too():
    inner = {"dtype": "bfloat16", "rope_parameters": TURNED}
    written = both_ways({"text_config": inner, "vision_config": None})
    assert written == {"text_config": inner | {"torch_dtype": "bfloat16", "rope_theta": 25e4}, "vision_config": None}


def test_bos_and_special_tokens_survive_under_names_that_both_versions_know(tmp_path):
    again, config = exported(with_bos(tmp_path / "source", local_files_only=False, backend="tokenizers"), tmp_path)
    assert again.convert_ids_to_tokens(again("the tool").input_ids)[0] == "<s>"
    assert config["tokenizer_class"] == ANY_CLASS
    assert config["additional_special_tokens"] == ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    assert not {"extra_special_tokens", "backend", "local_files_only"} & set(config)
    assert config["pad_token"] == "<|im_end|>"
    assert special_tokens(again) == special_tokens(tiny_tokenizer())


def test_a_tokenizer_s_class_is_kept_unless_it_reads_text_otherwise(tmp_path):
    vocab = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    plain = Qwen2Tokenizer(vocab=vocab["vocab"], merges=[tuple(m) for m in vocab["merges"]], eos_token="</s>",
                           unk_token=None, pad_token="</s>")  # fmt: skip
    (tmp_path / "source").mkdir()
    plain.save_pretrained(tmp_path / "source")
    _, config = exported(tmp_path / "source", tmp_path / "same")
    assert config["tokenizer_class"] == "Qwen2Tokenizer"
    trained = load_tokenizer(with_bos(tmp_path / "other", tokenizer_class="Qwen2Tokenizer"))
    save_tokenizer(trained, tmp_path / "plain")
    again = AutoTokenizer.from_pretrained(tmp_path / "plain")
    assert again(TEXTS, add_special_tokens=False).input_ids == trained(TEXTS).input_ids


def test_a_tokenizer_made_in_memory_is_saved_as_it_is(tmp_path):
    save_tokenizer(tiny_tokenizer(), tmp_path, "{{ messages[0].content }}")
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS).input_ids == tiny_tokenizer()(TEXTS).input_ids
    assert again.chat_template == "{{ messages[0].content }}"


def test_a_lone_sentencepiece_model_is_published_with_its_bos(tmp_path):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([SAMPLE] * 9), model_writer=model, vocab_size=320, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)  # fmt: skip
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "source" / "tokenizer.model").write_bytes(model.getvalue())
    again, _ = exported(tmp_path / "source", tmp_path / "mine")
    original = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert again(SAMPLE).input_ids == [original.bos_id(), *original.encode(SAMPLE)]
    assert (tmp_path / "mine" / "tokenizer.model").read_bytes() == model.getvalue()


# --- Ids beyond the embedding are refused before training ---


WITH_TOOL = "{{ messages }}<tool>"  # a tokenizer of its own: others may add tokens to the shared one


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A model whose embedding has a row for each token of the tiny tokenizer, and no more."""
    folder = tmp_path_factory.mktemp("narrow")
    LlamaConfig(**SMALL | {"vocab_size": len(tiny_tokenizer(WITH_TOOL))}).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("token", ["<pad>", "a plain word", "<tool>"])
def test_an_id_beyond_the_embedding_is_refused_by_name(narrow, token):
    tokenizer = deepcopy(tiny_tokenizer(WITH_TOOL))
    check_ids(narrow, tokenizer)
    rows = len(tokenizer)
    tokenizer.add_tokens([token], special_tokens=token.startswith("<"))
    tokenizer.pad_token = "<pad>" if token == "<pad>" else "</s>"
    found = rf"found 1 beyond them, from '{token}' = {rows}.*expected ids below {rows}"
    with pytest.raises(FlanError, match=found) as error:
        check_ids(narrow, tokenizer)
    assert ("it pads" in str(error.value)) == (token == "<pad>")


def test_tuning_refuses_ids_beyond_the_embedding_before_it_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RUNS", tmp_path / "runs")
    with_bos(tmp_path / "model")
    LlamaConfig(**SMALL | {"vocab_size": len(tiny_tokenizer()) - 1}).save_pretrained(tmp_path / "model")
    preset = replace(PRESETS["smoke"], model=str(tmp_path / "model"), template="agent_flan", seeds=(0,))
    rows = [Conversation("a", "made", (say("user", "Hi"), say("assistant", "Yes", "general", trained=True)))]
    with pytest.raises(FlanError, match="found 1 beyond them"):
        tuned({"arm": Arm(rows)}, preset, Tally("test"))
    assert not (tmp_path / "runs").exists()


def test_a_special_token_that_no_text_can_contain_may_lie_beyond_the_embedding(narrow):
    tokenizer = deepcopy(tiny_tokenizer(WITH_TOOL))
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    check_ids(narrow, tokenizer)


def test_a_model_whose_own_padding_lies_beyond_its_embedding_is_refused(tmp_path):
    LlamaConfig(**SMALL | {"pad_token_id": 400}).save_pretrained(tmp_path)
    with pytest.raises(FlanError, match="Set pad_token_id"):
        check_ids(str(tmp_path), tiny_tokenizer())
