"""Ask any model Agent-H's samples, and write its replies line by line, so that nothing is asked twice.

A model reads the tools where it was trained to read them: its own chat template shows them. Where that template leaves
tools out, or a form of the kit is asked for, they are listed in the system turn, with how to reply in that form.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from flanlib import pretrained, store
from flanlib.benchmarks import Prompt
from flanlib.benchmarks import ask as complete
from flanlib.benchmarks.agent_h import answers
from flanlib.benchmarks.agent_h.ask import follow_ups
from flanlib.benchmarks.agent_h.samples import Sample, digest
from flanlib.benchmarks.plans import lab_plans
from flanlib.corpus.negatives import opening
from flanlib.dialects import DIALECTS
from flanlib.inference.generate import Decoding, Writer, scoring_model
from flanlib.records import FlanError, clip, to_json
from flanlib.text.native import NATIVE, native_template
from flanlib.text.tokens import load_tokenizer

LISTED = "json"
"""The form in which tools are listed if none is named."""
CHUNK = 32
"""Replies that are generated together and then written: so many are lost at most if it is interrupted."""
UNASKED = ("too long", "unfit")


def ask(samples: Sequence[Sample], model: str, out: Path, *, form: str | None = None, bits: int = 16,
        longest: int = 512, tell: Callable[[str], None] = print) -> Counter[str]:  # fmt: skip
    """Append a model's greedy replies to ``out``, a row for each sample that has none there, and count how they ended.

    A row has id, :func:`flanlib.benchmarks.agent_h.samples.digest`, reply, ``ended`` (of
    :class:`flanlib.inference.generate.Reply`), ``model`` and ``setup``, a digest of the model and all settings. In chat
    form, where a reply plans a call, ``followed`` is what the model said when it was asked for the tool.
    ``form`` is NATIVE or one of DIALECTS; by default NATIVE if the model's template shows tools, else LISTED. Samples
    of which the prompt is UNASKED get no row. ``tell`` is told how tools are shown. Raises FlanError for an unknown
    model, for a template without tools where NATIVE is asked for, and as :func:`finished` does.
    """
    tokenizer = load_tokenizer(pretrained.folder(model))
    shows_tools = native_template(tokenizer).shows_tools
    if form == NATIVE and not shows_tools:
        raise FlanError(f"model {model}", found="a chat template that leaves tools out", expected="one that shows them",
                        remedy=f"Name the form in which they are listed: {', '.join(DIALECTS)}.")  # fmt: skip
    left_out = "" if shows_tools else "The model's chat template leaves tools out. "
    form = form or (NATIVE if shows_tools else LISTED)
    tell(f"{left_out}Tools are shown by the model's chat template." if form == NATIVE else
         f"{left_out}Tools are listed in the system turn, with how to reply in {form} form.")  # fmt: skip
    setup = store.digest({"model": pretrained.identity(model), "form": form, "bits": bits, "longest": longest})
    done = finished(out, samples, setup, tell)
    todo = [one for one in samples if one.id not in done]
    counts: Counter[str] = Counter()
    if not todo:
        return counts
    plans = lab_plans().plans if form == "chat" else None
    loaded = scoring_model(model, bits=bits)
    write = Writer(loaded, tokenizer, native_template(tokenizer, _ends(loaded, tokenizer)), Decoding(longest))
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8", newline="\n") as file, tqdm(
            total=len(samples), initial=len(done), desc=model, unit="reply", disable=None) as bar:  # fmt: skip
        for start in range(0, len(todo), CHUNK):
            some = todo[start : start + CHUNK]
            prompts = [prompt(one, form) for one in some]
            replies = write.replies(prompts)
            texts = [text.encode(errors="replace").decode() for text, _ in replies]
            asked = follow_ups(some, [one.turns for one in prompts], texts, plans) if plans else {}
            names = dict(zip(asked, complete(write, list(asked.values())), strict=True)) if asked else {}
            for i, (one, text, (_, ended)) in enumerate(zip(some, texts, replies, strict=True)):
                counts[ended] += 1
                if ended not in UNASKED:
                    row = {"id": one.id, "digest": digest(one), "reply": text, "ended": ended, "model": model,
                           "setup": setup, **({"followed": names[i]} if i in names else {})}  # fmt: skip
                    file.write(to_json(row) + "\n")
            file.flush()
            bar.update(len(some))
    return counts


def finished(out: Path, samples: Sequence[Sample], setup: str, tell: Callable[[str], None] = print) -> set[str]:
    """Return the ids of the samples that have a reply in ``out``. A line that was not written to its end is cut off.

    Raises FlanError, naming the line, for replies to other samples and for those of another ``setup``.
    """
    if not out.exists():
        return set()
    written = out.read_bytes()
    if tail := written.rpartition(b"\n")[2]:
        store.write(out, written.removesuffix(tail))
        tell(f"{out}: a last line that was not written to its end is asked for again")
    ids = set()
    for where, id, row in answers.rows(out, samples):
        if row.get("setup") != setup:
            raise FlanError(where, found=f"a reply of {clip(row.get('model', 'another model'))} in another setup",
                            expected="the same model, form, bits and longest reply",
                            remedy="Name another --out, or begin anew with --force.")  # fmt: skip
        ids.add(id)
    tell(f"{out}: goes on after {len(ids):,} replies")
    return ids


def prompt(sample: Sample, form: str) -> Prompt:
    """Make the prompt of a sample: its tools for the chat template (NATIVE), or listed as in a dialect's training."""
    if form == NATIVE:
        return Prompt(sample.id, opening(sample.query, sample.instructions), tools=sample.tools)
    return Prompt(sample.id, opening(sample.query, sample.instructions, sample.tools, DIALECTS[form].HOW))


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the tokens with which a model ends its replies, as texts: some have one for words and one for calls."""
    ids = model.generation_config.eos_token_id
    return [tokenizer.decode([id]) for id in ([] if ids is None else ids if isinstance(ids, list) else [ids])]
