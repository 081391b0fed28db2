"""Agent-H from the command line: ``python -m flanlib.benchmarks.agent_h build``, ``... ask`` and ``... score``."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from flanlib import sources, store
from flanlib.benchmarks.agent_h import answers, build, relign, samples, score
from flanlib.dialects import DIALECTS
from flanlib.records import FlanError, to_json
from flanlib.tally import Tally
from flanlib.text.native import NATIVE


def main() -> None:
    """Build a file of samples, ask a model for its replies to one, or score them."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.benchmarks.agent_h", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("build", help="write samples as JSONL")
    make.add_argument("--source", default="lab",
                      help="'lab' (the default), or glaive-function-calling-v2: file, folder or hub name")  # fmt: skip
    make.add_argument("--n", type=int, default=build.SIZE, help="samples (default: %(default)s, the paper's number)")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--out", type=Path, default=Path("agent_h.jsonl"))
    make.set_defaults(run=_build)
    request = commands.add_parser("ask", help="write a model's replies, or the prompts for another program")
    request.add_argument("--samples", type=Path, required=True)
    request.add_argument("--model", help="smollm2, a folder, or a name on the hub")
    request.add_argument("--out", type=Path, help="JSONL of the replies; those that it has are kept")
    request.add_argument("--prompts", type=Path, help="write id, messages and tools as JSONL; needs no model")
    request.add_argument("--form", choices=(NATIVE, *DIALECTS),
                         help="how tools are shown: by the model's chat template (the default, if it shows any), or "
                         "listed in the system turn, with how to reply in that form")  # fmt: skip
    request.add_argument("--bits", type=int, choices=(4, 16), default=16, help="of a weight (default: %(default)s)")
    request.add_argument("--longest", type=int, default=512, help="tokens of a reply (default: %(default)s)")
    request.set_defaults(run=_ask)
    judge = commands.add_parser("score", help="read replies and print the table")
    judge.add_argument("--samples", type=Path, required=True)
    judge.add_argument("--replies", type=Path, required=True,
                       help="JSONL with rows {id, reply}: text or a chat message")  # fmt: skip
    judge.add_argument("--out", type=Path, help="CSV file of the table (default: beside the replies)")
    judge.set_defaults(run=_score)
    for command in (make, request, judge):
        command.add_argument("--force", action="store_true", help="write over files that are there")
    options = parser.parse_args()
    try:
        if options.out and options.out.is_dir():
            raise FlanError("--out", found=f"the folder {options.out}", expected="a file", remedy="Add a name.")
        options.run(options)
    except (FlanError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. Run it again, and it goes on.")


def _new(path: Path, options: argparse.Namespace) -> Path:
    """Return a path to write to. Raises FlanError if it exists, unless it may be written over."""
    if path.exists() and not options.force:
        raise FlanError(str(path), found="that it exists", expected="a new file",
                        remedy="Name another, or pass --force to write over it.")  # fmt: skip
    return path


def _build(options: argparse.Namespace) -> None:
    if options.n < build.LEAST:
        raise FlanError("--n", found=str(options.n), expected=f"{build.LEAST} or more", remedy="Ask for more samples.")
    if options.seed < 0:
        raise FlanError("--seed", found=str(options.seed), expected="0 or more", remedy="Pass another seed.")
    _new(options.out, options)
    tally = Tally(f"Agent-H from {options.source}")
    if options.source == "lab":
        requests = build.lab_pool(options.n, seed=options.seed)
    else:
        trajectories, conversations, rows_read = sources.load(options.source)
        print(rows_read)
        usable = Tally("requests")
        requests = build.pool("glaive", [*trajectories, *conversations], tally=usable)
        print(usable)
    composed = build.build(requests, options.n, seed=options.seed, tally=tally)
    samples.write(options.out, composed, source=requests.source, seed=options.seed, asked=options.n)
    print(tally)
    print(f"{options.out}: {len(composed):,} samples")


def _ask(options: argparse.Namespace) -> None:
    if bool(options.model) != bool(options.out) or not (options.model or options.prompts):
        raise FlanError("ask", found="one of --model and --out" if options.model or options.out else "nothing to do",
                        expected="both, or --prompts, or all three", remedy="Add what is missing.")  # fmt: skip
    if options.longest < 1:
        raise FlanError("--longest", found=str(options.longest), expected="1 or more", remedy="Allow more tokens.")
    listed = samples.read(options.samples)
    if options.prompts:
        store.write(_new(options.prompts, options), "".join(to_json(samples.prompt(one)) + "\n" for one in listed))
        print(f"{options.prompts}: {len(listed):,} prompts")
    if options.model:
        from flanlib.inference import asking  # only this needs torch

        if options.force:
            options.out.unlink(missing_ok=True)
        ended = asking.ask(listed, options.model, options.out, form=options.form, bits=options.bits,
                           longest=options.longest)  # fmt: skip
        how = "".join(f", {n:,} {how}" for how, n in sorted(ended.items()))
        print(f"{options.out}: {ended.total():,} of {len(listed):,} samples asked now{how}")


def _score(options: argparse.Namespace) -> None:
    listed, tally = samples.read(options.samples), Tally("replies")
    out = _new(options.out or options.replies.with_suffix(".scores.csv"), options)
    replies = answers.read(options.replies, listed, tally=tally)
    judged = score.judge(listed, replies, answers.followed(options.replies))
    table = score.table(judged)
    store.write_table(out, table)
    overall = table[table["cell"] == "all"].drop(columns=["cell", "seeds"])
    if tally.noted:
        print(tally)
    print(f"{len(replies):,} of {len(listed):,} samples answered")
    print(overall.to_string(index=False, float_format="{:.3f}".format))
    classes = pd.Series([relign.classify(replies[s.id], s.tools, s.query) for s in listed if s.id in replies],
                        name="Relign's class")  # fmt: skip
    print(f"\n{pd.crosstab(judged['kind'], classes).T.to_string()}")
    print(f"\nby cell: {out}")


if __name__ == "__main__":
    main()
