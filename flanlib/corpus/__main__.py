"""Mix your rows into a corpus by the recipe of Agent-FLAN, and write it for other trainers. No model is needed.

``python -m flanlib.corpus DATA --out folder`` writes the corpus in three row shapes and a card that tells what is in
it. General chat is the data's own, filled up with the plain chat that ships with the kit. Negatives without tools, or
without the right tool, need plain replies of a chat model: the folder has the requests for it, and ``--replies`` takes
what it wrote.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from flanlib import sources
from flanlib.corpus.balance import APPENDIX, rank
from flanlib.corpus.card import card, contents
from flanlib.corpus.export import SHAPES, export_all
from flanlib.corpus.mix import Corpus, mix
from flanlib.corpus.negatives import IRRELEVANT, MISSING, NO_TOOLS, TYPES, negatives, opening
from flanlib.lab import ordinary
from flanlib.presets import source_name
from flanlib.records import Conversation, FlanError, Trajectory, to_json
from flanlib.sources.files import rows
from flanlib.tally import Tally

SEED = 2403
REACT_SHARE = {"chat": 0.1, "react": 1.0}
CARD, REQUESTS = "README.md", "requests.jsonl"
WRITTEN = {CARD, REQUESTS, *(f"{shape}.jsonl" for shape in SHAPES)}


def read(data: Sequence[str]) -> tuple[list[Trajectory], list[Conversation], list[Tally]]:
    """Read several data sets: trajectories, plain chat, and a tally for each.

    A record's source becomes the name of its data set, and its id begins with it. An id that is in use all the same
    gets a number, which is noted. Raises FlanError as :func:`flanlib.sources.load` does.
    """
    trajectories: list[Trajectory] = []
    chats: list[Conversation] = []
    tallies, ids = [], set()
    for path in data:
        *found, tally = sources.load(path)
        source = source_name(path)
        for records, kept in zip(found, (trajectories, chats), strict=True):
            for record in records:
                numbered = (f"{source}-{record.id}" + f" #{n}" * (n > 1) for n in count(1))
                id = next(name for name in numbered if name not in ids)
                if id != f"{source}-{record.id}":
                    tally.note("ids made unique among data sets")
                ids.add(id)
                kept.append(replace(record, id=id, source=source))
        tallies.append(tally)
    return trajectories, chats, tallies


def read_replies(path: str) -> tuple[dict[str, str], Tally]:
    """Read plain replies by request id, from rows ``{"id": ..., "reply": ...}``. Raises FlanError if there is none."""
    replies: dict[str, str] = {}
    tally = Tally(f"{source_name(path)}, replies")
    for where, row in rows(path, tally=tally):
        id, reply = (row.get("id"), row.get("reply")) if isinstance(row, dict) else (None, None)
        if not isinstance(id, str) or not isinstance(reply, str) or not reply.strip():
            tally.drop("no id and reply as text", where)
        elif id in replies:
            tally.drop("an id that was met before", where)
        else:
            replies[id] = reply.strip()
            tally.keep()
    if not replies:
        raise FlanError(path, found="no reply", expected='rows {"id": ..., "reply": ...}',
                        remedy=f"Write one for each row of {REQUESTS}. {tally}")  # fmt: skip
    return replies, tally


def recipe(trajectories: Sequence[Trajectory], chats: Sequence[Conversation], *, seed: int = SEED,
           dialect: str = "chat", react_share: float | None = None, weighted: bool = True, following: float = 0.1,
           general: float = 1.0, negative: float = 0.1, replies: Mapping[str, str] | None = None,
           tally: Tally) -> tuple[Corpus, list[Trajectory]]:  # fmt: skip
    """Mix the corpus of Agent-FLAN (Appendix A), and return it with the requests that want a plain reply.

    ``following``, ``general`` and ``negative`` (for each type) are rows per trajectory. ``dialect`` is the form of the
    trajectories: with ``chat``, a share ``react_share`` of them (a tenth) has ReAct form all the same. ``chats`` are
    used before the plain chat that ships with the kit. ``no tools`` and ``missing`` negatives are made of trajectories
    with one of ``replies``, or with an answer and no call: see :func:`flanlib.corpus.negatives.negatives`, which
    counts them in ``tally``. Raises FlanError without a trajectory and as :func:`flanlib.corpus.mix.mix` does.
    """
    n, replies = len(trajectories), replies or {}
    spare = sorted(ordinary.conversations("train"), key=lambda chat: rank(seed, "general", chat.id))
    plain = [*chats, *spare[: max(0, round(general * n) - len(chats))]]
    counts = {kind: round(negative * n) for kind in TYPES}
    requests = [one for one in trajectories if one.id in replies or not one.steps]
    if unknown := len(replies.keys() - {one.id for one in trajectories}):
        tally.note("replies to no request of the data", unknown)
    added = negatives(counts, requests=requests, replies=replies, dialect=dialect, seed=seed, tally=tally,
                      chats=[chat for chat in (*chats, *spare) if not chat.tools],
                      tools=[tool for one in trajectories for tool in one.tools])  # fmt: skip
    lacking = counts[NO_TOOLS] + counts[MISSING] - sum(not one.id.endswith(f"({IRRELEVANT})") for one in added)
    waiting = sorted((one for one in trajectories if one.steps and one.id not in replies),
                     key=lambda one: rank(seed, "requests", one.id))[:lacking]  # fmt: skip
    corpus = mix(trajectories, seed=seed, following=round(following * n), general=plain, negatives=added,
                 weights=APPENDIX if weighted else {}, general_ratio=general,
                 react_share=REACT_SHARE[dialect] if react_share is None else react_share)  # fmt: skip
    return corpus, waiting


def write(folder: Path, corpus: Corpus, waiting: Sequence[Trajectory], *, settings: Mapping[str, object],
          tallies: Sequence[Tally]) -> None:  # fmt: skip
    """Write a corpus into a folder, which appears whole or not at all, and takes the place of an older one.

    Raises FlanError where nothing can be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as scratch:
            unfinished = Path(scratch) / "new"
            unfinished.mkdir()
            files = export_all(corpus.conversations, unfinished)
            if waiting:
                (unfinished / REQUESTS).write_text("".join(map(_request, waiting)), encoding="utf-8", newline="\n")
            text = card(folder.name, corpus, files=files, waiting=len(waiting), settings=settings, tallies=tallies)
            (unfinished / CARD).write_text(text, encoding="utf-8", newline="\n")
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            unfinished.rename(folder)
    except OSError as error:
        raise FlanError(str(folder), found=error.strerror or str(error), expected="a place to write to",
                        remedy="Name another folder.") from None  # fmt: skip


def _request(one: Trajectory) -> str:
    turns = opening(one.query, one.instructions)
    return to_json({"id": one.id, "messages": [{"role": turn.role, "content": turn.text} for turn in turns]}) + "\n"


def check_new(folder: Path, *, force: bool) -> None:
    """Raise FlanError for an existing folder, and with ``force`` for one that holds more than this command writes."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not force:
        raise FlanError(str(folder), found="that it exists", expected="a new folder",
                        remedy="Name another, or pass --force to replace a corpus.")  # fmt: skip
    others = sorted({path.name for path in folder.iterdir()} - WRITTEN) if folder.is_dir() else [folder.name]
    if others or folder.is_symlink():
        raise FlanError(str(folder), found=f"{others[0]}" if others else "a link", remedy="Name another folder.",
                        expected="only files that this command writes, which --force replaces")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Ends with one line on bad input."""
    options = _parser().parse_args(arguments)
    folder = Path(options.out).absolute()
    try:
        check_new(folder, force=options.force)
        trajectories, chats, tallies = read(options.data)
        if not trajectories:
            raise FlanError(" ".join(options.data), found=f"no trajectory and {len(chats)} plain conversations",
                            expected="rows in which tools are called",
                            remedy="Name agent data too. " + " ".join(map(str, tallies)))  # fmt: skip
        replies, read_tally = read_replies(options.replies) if options.replies else ({}, None)
        tally = Tally("negatives")
        react_share = REACT_SHARE[options.dialect] if options.react_share is None else options.react_share
        settings = {"dialect": options.dialect, "react_share": react_share, "weighted": options.weights,
                    "following": options.following, "general": options.general, "negative": options.negatives,
                    "seed": options.seed}  # fmt: skip
        corpus, waiting = recipe(trajectories, chats, **settings, replies=replies, tally=tally)
        tallies += [one for one in (read_tally, tally, corpus.tally) if one]
        names = {"data": ", ".join(Path(path).name for path in options.data)}
        names |= {"replies": Path(options.replies).name} if options.replies else {}
        write(folder, corpus, waiting, settings=names | settings, tallies=tallies)
    except FlanError as error:
        raise SystemExit(str(error)) from None
    print(*tallies, contents(corpus).to_string(index=False), sep="\n")
    print(f"{len(corpus.conversations)} conversations in {options.out}"
          + (f"; {len(waiting)} requests in {REQUESTS} want a plain reply" if waiting else ""))  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flanlib.corpus", description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="+", help="paths, globs, folders or hub names of trajectories and plain chat")
    parser.add_argument("--out", required=True, help="the new folder")
    parser.add_argument("--force", action="store_true", help="replace an existing corpus")
    parser.add_argument("--seed", type=_count, default=SEED, help="of all draws (default: %(default)s)")
    parser.add_argument("--dialect", choices=sorted(REACT_SHARE), default="chat", help="the form of trajectories")
    parser.add_argument("--react-share", type=_amount, metavar="N",
                        help="share of them in ReAct form (default: 0.1, with --dialect react: 1)")  # fmt: skip
    parser.add_argument("--no-weights", dest="weights", action="store_false", help="train on all turns")
    for name, default, what in (("following", 0.1, "instruction-following pairs"), ("general", 1.0, "general chats"),
                                ("negatives", 0.1, "negative samples")):  # fmt: skip
        each = ", of each type," if name == "negatives" else ""
        parser.add_argument(f"--{name}", type=_amount, default=default, metavar="N",
                            help=f"{what}{each} per trajectory (default: %(default)s)")  # fmt: skip
        parser.add_argument(f"--no-{name}", dest=name, action="store_const", const=0.0, help=f"no {what}")
    parser.add_argument("--replies", metavar="FILE",
                        help=f'plain replies to {REQUESTS} of a corpus: {{"id": .., "reply": ..}}')  # fmt: skip
    return parser


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return value


if __name__ == "__main__":
    main()
