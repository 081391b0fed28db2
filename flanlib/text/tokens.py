"""From conversations to token ids with a kind each: render once, tokenise once, map characters to kinds.

Spans are not tokenised one by one: a token can cross their border, and the ids would then not be those of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flanlib import pretrained
from flanlib.progress import Bar
from flanlib.records import KINDS, Conversation, FlanError, Kind, clip
from flanlib.tally import Tally
from flanlib.text.offsets import Placed, place
from flanlib.text.templates import AnyTemplate, Rendered, bind, render

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

CONTEXT = KINDS.index("context")
ARRAYS = {"ids": "int32", "kinds": "int8", "bytes": "int32"}
CHUNK = 512
CUT = "last exchanges cut to fit"
TOO_LONG = "a context too long for one turn"
FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab.json", "merges.txt")
SAMPLE = 'Plain text, {"n": [1, 23]}:\n  "naïve" 日本 🙂'


@dataclass(frozen=True, eq=False)
class Example:
    """A tokenised conversation: three arrays of equal length, one entry per token.

    ``kinds`` are indices into ``records.KINDS``. ``bytes`` are the UTF-8 bytes of trained text that each token stands
    for (0 for context); every byte is counted for exactly one token.
    """

    id: str
    ids: np.ndarray
    kinds: np.ndarray
    bytes: np.ndarray

    def __post_init__(self) -> None:
        for name, dtype in ARRAYS.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        fits = len(self.ids) == len(self.kinds) == len(self.bytes) > 0
        if not fits or self.kinds[0] != CONTEXT:
            counts = f"{len(self.ids)} ids, {len(self.kinds)} kinds, {len(self.bytes)} bytes"
            raise FlanError(f"example {self.id}", found="a trained first token" if fits else counts,
                            expected="equally many, the first token being context",
                            remedy="Use a template that opens every turn.")  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trained(self) -> int:
        """The number of trained tokens."""
        return int(np.sum(self.kinds != CONTEXT))


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder, or from the hub by name, so that it adds no special tokens by itself.

    ``tokenizer.json`` is used as published. A folder with only ``tokenizer.model`` (Llama's sentencepiece), or with
    ``vocab.json`` and ``merges.txt`` (GPT-2), gives the same ids as the original programs. Without a padding token the
    end token pads, which is safe because padding is never trained. Raises FlanError for missing files, for a tokenizer
    that does not decode plain text back to itself, and for one without an end token.
    """
    from huggingface_hub import snapshot_download
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

    where, folder = f"tokenizer {name}", Path(name)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(str(name), allow_patterns=list(FILES)))
        except (OSError, ValueError) as error:
            raise FlanError(
                where,
                found=f"no such folder, and from the hub: {clip(str(error))}",
                expected="a folder, or a name on the hub",
                remedy=pretrained.remedy(str(name), error),
            ) from None
    if (folder / "tokenizer.json").is_file():
        # AutoTokenizer's LlamaTokenizer would replace the published normaliser: "<s>[INST]" and " Hello" would change.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    elif (folder / "tokenizer.model").is_file():
        backend, names = _from_sentencepiece(folder / "tokenizer.model", where)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, tokenizer_object=backend, **names)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        has_config = (folder / "tokenizer_config.json").is_file()
        tokenizer = (AutoTokenizer if has_config else GPT2Tokenizer).from_pretrained(folder)
    else:
        raise FlanError(
            where,
            found=f"no tokenizer files in {folder}",
            expected="tokenizer.json, tokenizer.model, or vocab.json and merges.txt",
            remedy="Give the model's own folder or hub name.",
        )
    # The chat template already writes the special tokens as text.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    decoded = tokenizer.decode(tokenizer(SAMPLE, add_special_tokens=False).input_ids)
    if decoded != SAMPLE:
        raise FlanError(
            where,
            found=f"{len(tokenizer)} tokens that turn {clip(SAMPLE)} into {clip(decoded)}",
            expected="a tokenizer that decodes text to itself",
            remedy="Look for missing files.",
        )
    if tokenizer.eos_token is None:
        raise FlanError(
            where,
            found="no end token",
            expected="eos_token in tokenizer_config.json",
            remedy="Set it there to the token that ends a reply.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_all(conversations: Iterable[Conversation], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, *,
               max_tokens: int, tally: Tally) -> list[Example]:  # fmt: skip
    """Tokenise conversations, in order; those that cannot be labelled exactly are dropped and counted.

    A conversation over ``max_tokens`` loses whole exchanges from its end, and is noted in the tally. A token of two
    trained kinds takes the kind of most of its characters, the later kind in a tie. A conversation is dropped if it has
    nothing to train, no room for a first trained reply, a template mark in its content, a token across the border of
    trained text, or trained text that decodes to a different text. Raises FlanError as :func:`bind`.
    """
    conversations, template = list(conversations), bind(template, tokenizer)
    chunks = (conversations[start : start + CHUNK] for start in range(0, len(conversations), CHUNK))
    results = (result for chunk in chunks for result in label(chunk, tokenizer, template, max_tokens))
    bar = Bar(results, total=len(conversations), desc="tokenise", unit=" conversations", leave=False)
    examples = []
    for conversation, result in zip(conversations, bar, strict=True):
        if isinstance(result, FlanError):
            tally.drop(result.found, f"{conversation.source} {conversation.id}")
            continue
        if result.cut:
            tally.note(CUT)
        examples.append(result.example)
    tally.keep(len(examples))
    return examples


def check_lost(form: str, dropped: Mapping[str, int], seen: int) -> None:
    """Raise FlanError if more than half of the ``seen`` conversations were dropped; ``dropped`` counts them by reason.

    >>> check_lost("react", {"a template mark in the content": 2}, 4)
    >>> check_lost("react", {"a template mark in the content": 2, "nothing to train": 1}, 4)
    Traceback (most recent call last):
    flanlib.records.FlanError: form react: found 3 of 4 conversations lost in tokenising, most often for a template
    mark in the content (2); expected at least half of them kept. Choose another template, such as agent_flan.
    """
    lost = sum(dropped.values())
    if 2 * lost > seen:
        reason = max(dropped, key=dropped.get)
        raise FlanError(f"form {form}", expected="at least half of them kept",
                        found=f"{lost:,} of {seen:,} conversations lost in tokenising, most often for "
                              f"{reason} ({dropped[reason]:,})",
                        remedy="Allow more tokens in a row, or shorten the list of tools." if reason == TOO_LONG
                        else "Choose another template, such as agent_flan.")  # fmt: skip


class Labelled(NamedTuple):
    """A tokenised conversation, and whether its last exchanges were cut to fit."""

    example: Example
    cut: bool
    texts: list[str]  # stretches of trained text
    runs: list[list[int]]  # stretches of trained ids, which must decode to the texts


def label(conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
          max_tokens: int) -> list[Labelled | FlanError]:  # fmt: skip
    """Tokenise a batch of conversations with a bound template; one to be dropped gives the error that says why."""
    results = [
        _try(render, one, template)
        if one.trained
        else _rejected(one.id, "nothing to train", "a trained assistant turn")
        for one in conversations
    ]
    rendered = [i for i, result in enumerate(results) if isinstance(result, Rendered)]
    *placed, letter = place([*(results[i].text for i in rendered), "a"], tokenizer)
    for i, tokens in zip(rendered, placed, strict=True):
        results[i] = _try(_label, conversations[i].id, results[i], tokens, max_tokens)
    # Some decoders drop a leading space, so each run is decoded behind a letter, as if in the middle of a text.
    prefix = letter.ids.tolist()
    runs = [prefix + run for result in results if isinstance(result, Labelled) for run in result.runs]
    decoded = iter(tokenizer.backend_tokenizer.decode_batch(runs, skip_special_tokens=False))
    for i, result in enumerate(results):
        if isinstance(result, Labelled) and [next(decoded) for _ in result.runs] != [f"a{t}" for t in result.texts]:
            results[i] = _rejected(conversations[i].id, "trained text that the tokenizer changes",
                                   "text that survives encoding and decoding")  # fmt: skip
    return results


def _try(step: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return step(*arguments)
    except FlanError as error:
        return error


def _label(id: str, rendered: Rendered, placed: Placed, max_tokens: int) -> Labelled:
    """Give every token its kind and bytes, and cut off exchanges that do not fit. Raises FlanError for one to drop."""
    n, end = len(placed.ids), len(rendered.text)
    if n > max_tokens:
        counts = np.searchsorted(placed.stops, rendered.ends, side="right")  # tokens up to each trained turn's end
        fitting = int((counts <= max_tokens).sum())
        if not fitting:
            raise _rejected(id, TOO_LONG, f"a first trained reply within {max_tokens} tokens")
        n, end = int(counts[fitting - 1]), rendered.ends[fitting - 1]
    spans = [span for span in rendered.spans if span[1] <= end]

    ids, kinds = placed.ids[:n], _token_kinds(id, spans, placed.starts[:n], placed.stops[:n])
    trained = kinds != CONTEXT
    example = Example(id, ids, kinds, np.where(trained, placed.bytes[:n], 0))
    borders = np.flatnonzero(np.diff(np.concatenate([[False], trained, [False]]))).reshape(-1, 2)
    runs = [ids[start:stop].tolist() for start, stop in borders]
    starts, stops = ({span[side] for span in spans} for side in (0, 1))  # adjacent spans are one stretch of text
    stretches = zip(sorted(starts - stops), sorted(stops - starts), strict=True)
    return Labelled(example, n < len(placed.ids), [rendered.text[start:stop] for start, stop in stretches], runs)


def _token_kinds(id: str, spans: Sequence[tuple[int, int, Kind]], starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Return the kind index of each token; ``starts`` and ``stops`` are the tokens' character positions."""
    # The text as sections of one kind: section i begins at begins[i]. One between adjacent spans is empty.
    begins, section_kinds = [0], [CONTEXT]
    for start, stop, kind in spans:
        begins += (start, stop)
        section_kinds += (KINDS.index(kind), CONTEXT)
    stops = np.maximum(stops, starts + 1)  # a token without characters takes the kind of the next character
    first, last = (np.searchsorted(begins, at, side="right") - 1 for at in (starts, stops - 1))
    kinds = np.asarray(section_kinds, np.int8)[first]
    for token in np.flatnonzero(first != last):
        sections = slice(int(first[token]), int(last[token]) + 1)
        cuts = [int(starts[token]), *begins[sections][1:], int(stops[token])]
        counts: dict[int, int] = {}  # characters of the token by kind
        for kind, size in zip(section_kinds[sections], np.diff(cuts).tolist(), strict=True):
            if size:
                counts[kind] = counts.pop(kind, 0) + size  # pop, so that the kind moves to the end
        if CONTEXT in counts and len(counts) > 1:
            raise _rejected(id, "a token across the border of trained text", "a template that keeps them apart")
        kinds[token] = max(reversed(counts), key=counts.get)  # the later kind in a tie
    return kinds


def _rejected(id: str, found: str, expected: str) -> FlanError:
    return FlanError(f"conversation {id}", found=found, expected=expected, remedy="Drop it and count it.")


def _from_sentencepiece(path: Path, where: str) -> tuple[Tokenizer, dict[str, str]]:
    """Rebuild a sentencepiece BPE model (Llama, Llama-2) in ``tokenizers``, with equal ids and with offsets."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError:
        raise FlanError(
            where,
            found=f"{path.name}, which is no sentencepiece model",
            expected="a sentencepiece model",
            remedy="Download it again: it could be a pointer to a large file.",
        ) from None
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    plain = normalizer.name == "identity" and normalizer.add_dummy_prefix and not normalizer.remove_extra_whitespaces
    own_symbols = any(piece.type == piece.USER_DEFINED for piece in proto.pieces)
    if trainer.model_type != trainer.BPE or not trainer.byte_fallback or not plain or own_symbols:
        raise FlanError(
            where,
            found="a sentencepiece model of another family",
            expected="one like Llama's",
            remedy="Use a folder that has tokenizer.json.",
        )
    vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    # A merge for each way to split a piece into two pieces; merges with a better score come first.
    merges = sorted(
        (-piece.score, vocabulary[left], vocabulary[right], left, right)
        for piece in proto.pieces
        for cut in range(1, len(piece.piece))
        if (left := piece.piece[:cut]) in vocabulary and (right := piece.piece[cut:]) in vocabulary
    )
    tokenizer = Tokenizer(models.BPE(vocabulary, [merge[3:] for merge in merges], unk_token=trainer.unk_piece,
                                     fuse_unk=True, byte_fallback=True))  # fmt: skip
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])  # fmt: skip
    tokenizer.add_special_tokens([AddedToken(p.piece, normalized=False) for p in proto.pieces if p.type == p.CONTROL])
    names = {"bos_token": trainer.bos_id, "eos_token": trainer.eos_id, "unk_token": trainer.unk_id}
    return tokenizer, {name: proto.pieces[i].piece for name, i in names.items() if i >= 0}
