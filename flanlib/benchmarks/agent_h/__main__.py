"""Agent-H from the command line: ``python -m flanlib.benchmarks.agent_h build`` and ``... score``."""

import argparse
import sys
from pathlib import Path

from flanlib import sources, store
from flanlib.benchmarks.agent_h import build, samples, score
from flanlib.records import FlanError, clip
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
    judge.add_argument("--replies", type=Path, required=True, help="JSONL with rows {id, reply}")
    judge.add_argument("--out", type=Path, help="CSV of the table (default: beside the replies)")
    judge.set_defaults(run=_score)
    given = parser.parse_args()
    try:
        if given.out and given.out.is_dir():
            raise FlanError("--out", found=f"the folder {given.out}", expected="a file", remedy="Add a name.")
        given.run(given)
    except (FlanError, OSError) as error:
        sys.exit(f"error: {error}")


def _build(given: argparse.Namespace) -> None:
    if given.n < build.LEAST:
        raise FlanError("--n", found=str(given.n), expected=f"{build.LEAST} or more", remedy="Ask for more samples.")
    if given.seed < 0:
        raise FlanError("--seed", found=str(given.seed), expected="0 or more", remedy="Pass another seed.")
    tally = Tally(f"Agent-H from {given.source}")
    if given.source == "lab":
        of = build.lab_pool(given.n, seed=given.seed)
    else:
        trajectories, conversations, read = sources.load(given.source)
        print(read)
        of = build.pool("glaive", [*trajectories, *conversations], tally=(used := Tally("requests")))
        print(used)
    made = build.build(of, given.n, seed=given.seed, tally=tally)
    samples.write(given.out, made, source=of.source, seed=given.seed, asked=given.n)
    print(tally)
    print(f"{given.out}: {len(made):,} samples")


def _score(given: argparse.Namespace) -> None:
    asked, replies = samples.read(given.samples), {}
    for at, row in samples.lines(given.replies):
        if not isinstance(row.get("id"), str) or not isinstance(row.get("reply"), str) or row["id"] in replies:
            raise FlanError(at, found=clip(row), expected="{id, reply}, both text, each id once", remedy="Correct it.")
        replies[row["id"]] = row["reply"]
    table = score.table(score.judge(asked, replies))
    out = given.out or given.replies.with_suffix(".scores.csv")
    store.write_table(out, table)
    whole = table[table["cell"] == "all"].drop(columns=["cell", "seeds"])
    print(f"{len(replies):,} of {len(asked):,} samples answered")
    print(whole.to_string(index=False, float_format="{:.3f}".format))
    print(f"\nby cell: {out}")


if __name__ == "__main__":
    main()
