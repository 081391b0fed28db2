"""Write models and tokenizers so that transformers 4 and 5, and the servers built on either, read them alike.

transformers 5 saves what 4 cannot read or reads as something else: tokenizer classes and a list of special tokens that
4 does not know, rotary embeddings under a new name, the precision too. Here the old names stand beside the new ones.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from flanlib import store
from flanlib.text.templates import special_tokens
from flanlib.text.tokens import SAMPLE

ANY_CLASS = "PreTrainedTokenizerFast"
"""The tokenizer class that both versions know, and that reads ``tokenizer.json`` as it stands."""
VOCABULARIES = ("tokenizer.model", "added_tokens.json")  # llama.cpp's converter reads sentencepiece's own files
# How a tokenizer was loaded, not what it is; some name folders of this machine.
SESSION = ("auto_map", "backend", "is_local", "local_files_only", "name_or_path", "tokenizer_file", "vocab_file",
           "merges_file", "special_tokens_map_file")  # fmt: skip


def save_model(model: Any, folder: Path) -> None:
    """Save a model's weights and configuration (:func:`both_ways`) into a folder."""
    model.save_pretrained(folder)
    path = folder / "config.json"
    written = both_ways(json.loads(path.read_text(encoding="utf-8")), model.config)
    store.write(path, json.dumps(written, indent=2) + "\n")


def both_ways(written: Mapping[str, Any], config: Any = None) -> dict[str, Any]:
    """Add transformers 4's names to what transformers 5 wrote of a configuration, in nested ones too.

    >>> both_ways({"dtype": "float32", "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}})
    {'dtype': 'float32', 'rope_parameters': {'rope_type': 'linear', 'rope_theta': 10000.0, 'factor': 2.0},
     'torch_dtype': 'float32', 'rope_theta': 10000.0, 'rope_scaling': {'rope_type': 'linear', 'factor': 2.0}}
    """
    result = {name: both_ways(value, getattr(config, name, None)) if _nested(name, value) else value
              for name, value in written.items()}  # fmt: skip
    # Other names that transformers 5 reads an entry by: some are those that transformers 4 gives it.
    for other, name in getattr(config, "attribute_map", {}).items():
        if name in result:
            result.setdefault(other, result[name])
    if "dtype" in result:
        result["torch_dtype"] = result["dtype"]
    rope = result.get("rope_parameters") or {}
    if "full_attention" in rope:  # Gemma 3's local layers turn at another rate
        result["rope_local_base_freq"] = rope.get("sliding_attention", rope["full_attention"])["rope_theta"]
        rope = rope["full_attention"]
    scaling, apart = dict(rope), ["rope_theta", "partial_rotary_factor"]
    if rope.get("rope_type") == "longrope":  # of which Phi 3 in transformers 4 accepts these three entries only
        scaling = {"type": scaling.pop("rope_type"), **scaling}
        apart.append("original_max_position_embeddings")
    for name in apart:
        if name in scaling:
            result[name] = scaling.pop(name)
    if str(result.get("model_type")).startswith("gpt_neox") and rope:
        result |= {"rotary_emb_base": rope["rope_theta"], "rotary_pct": rope.get("partial_rotary_factor", 1.0)}
    if rope.get("rope_type", "default") != "default":
        result["rope_scaling"] = scaling
    return result


def _nested(name: str, value: Any) -> bool:
    return name.endswith("_config") and isinstance(value, dict)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, chat_template: str | None = None) -> None:
    """Save a tokenizer of :func:`flanlib.text.tokens.load_tokenizer`, with the BOS token that its publisher adds.

    Every version reads text as in training. The tokenizer's class is kept if AutoTokenizer of this version does so with
    it, else it becomes ANY_CLASS. ``chat_template`` replaces the tokenizer's own.
    """
    tokenizer.save_pretrained(folder)
    source, published = Path(tokenizer.name_or_path or folder), _published(tokenizer)
    for name in VOCABULARIES:
        if (source / name).is_file() and source != folder:
            shutil.copyfile(source / name, folder / name)
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # load_tokenizer took it away, since the chat template already writes the special tokens.
    backend["post_processor"] = json.loads(published.backend_tokenizer.to_str())["post_processor"]
    store.write(folder / "tokenizer.json", json.dumps(backend, ensure_ascii=False))

    config = _read(folder) | _read(source) | tokenizer.special_tokens_map
    config = {name: value for name, value in config.items() if name not in SESSION}
    # By default transformers 4 adds token_type_ids, which causal LMs refuse.
    config.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if isinstance(config.get("extra_special_tokens"), list):  # transformers 4 expects a mapping under this name
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    if template := chat_template or tokenizer.chat_template:
        # Some servers read only this entry, others only the file, and llama.cpp's converter prefers this one.
        config["chat_template"] = template if isinstance(template, str) else [
            {"name": name, "template": text} for name, text in template.items()]  # fmt: skip
        if chat_template:
            store.write(folder / "chat_template.jinja", chat_template)
    # Only transformers 5 knows its Backend classes, and the LlamaTokenizer of 4 adds BOS whatever tokenizer.json says.
    if re.match("Llama|.*Backend$", config.get("tokenizer_class") or "Backend"):
        config["tokenizer_class"] = ANY_CLASS
    _write(folder, config)
    if not _same(AutoTokenizer.from_pretrained(folder), tokenizer, published):
        _write(folder, config | {"tokenizer_class": ANY_CLASS})


def _published(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a tokenizer as its publisher's folder gives it, or itself if there is no such folder."""
    if not tokenizer.name_or_path:
        return tokenizer
    source = Path(tokenizer.name_or_path)
    # Llama's own program begins a text with BOS, but transformers 5 reads a lone sentencepiece model without.
    bos = {"add_bos_token": True} if (source / "tokenizer.model").is_file() and not (
        (source / "tokenizer.json").is_file() or "add_bos_token" in _read(source)) else {}  # fmt: skip
    try:
        published = AutoTokenizer.from_pretrained(tokenizer.name_or_path, **bos)
    except (OSError, ValueError):
        return tokenizer
    return published if hasattr(published, "backend_tokenizer") else tokenizer


def _same(one: PreTrainedTokenizerBase, trained: PreTrainedTokenizerBase, published: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer reads text as in training, and adds what the published one does."""
    texts = [SAMPLE, f" {SAMPLE}", *(f"{mark}{SAMPLE}{mark} {SAMPLE} {mark}" for mark in special_tokens(trained))]
    return (len(one) == len(trained)
            and one(texts, add_special_tokens=False).input_ids == trained(texts, add_special_tokens=False).input_ids
            and one("a").input_ids == published("a").input_ids)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write(folder: Path, config: Mapping[str, Any]) -> None:
    store.write(folder / "tokenizer_config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
