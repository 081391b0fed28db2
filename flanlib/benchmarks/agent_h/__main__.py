"""Agent-H from the command line: ``python -m flanlib.benchmarks.agent_h build`` and ``... score``."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from flanlib import sources, store
from flanlib.benchmarks.agent_h import answers, build, relign, samples, score
from flanlib.records import FlanError
from flanlib.tally import Tally


def main() -> None:
    """Build a file of samples, or score a model's replies to one."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.benchmarks.agent_h", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("build", help="write samples as JSONL")
    make.add_argument("--source", default="lab",
                      help="'lab' (the default), or glaive-function-calling-v2: file, folder or hub name")  # fmt: skip
    make.add_argument("--n", type=int, default=build.SIZE, help="samples (default: %(default)s, the paper's number)")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--out", type=Path, default=Path("agent_h.jsonl"))
    make.set_defaults(run=_build)
    judge = commands.add_parser("score", help="read replies and print the table")
    judge.add_argument("--samples", type=Path, required=True)
    judge.add_argument("--replies", type=Path, required=True,
                       help="JSONL with rows {id, reply}: text or a chat message")  # fmt: skip
    judge.add_argument("--out", type=Path, help="CSV file of the table (default: beside the replies)")
    judge.set_defaults(run=_score)
    options = parser.parse_args()
    try:
        if options.out and options.out.is_dir():
            raise FlanError("--out", found=f"the folder {options.out}", expected="a file", remedy="Add a name.")
        options.run(options)
    except (FlanError, OSError) as error:
        sys.exit(f"error: {error}")


def _build(options: argparse.Namespace) -> None:
    if options.n < build.LEAST:
        raise FlanError("--n", found=str(options.n), expected=f"{build.LEAST} or more", remedy="Ask for more samples.")
    if options.seed < 0:
        raise FlanError("--seed", found=str(options.seed), expected="0 or more", remedy="Pass another seed.")
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


def _score(options: argparse.Namespace) -> None:
    listed, tally = samples.read(options.samples), Tally("replies")
    replies = answers.read(options.replies, tally=tally)
    judged = score.judge(listed, replies)
    table = score.table(judged)
    out = options.out or options.replies.with_suffix(".scores.csv")
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
