"""T-Eval from the command line: ``python -m flanlib.benchmarks.t_eval score DATA REPLIES``."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from flanlib import store
from flanlib.benchmarks.t_eval import embedding, plans, reading, score
from flanlib.records import FlanError


def main() -> None:
    """Score replies to T-Eval."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.benchmarks.t_eval", description=main.__doc__)
    judge = parser.add_subparsers(required=True).add_parser("score", help="read replies and print the table")
    judge.add_argument("data", type=Path, help="a file of T-Eval, or a folder of such files")
    judge.add_argument("replies", type=Path, help="JSONL with rows {id, reply}, or a JSON file with predictions; for "
                                                  "a folder, a folder with one such file a part")  # fmt: skip
    judge.add_argument("--part", choices=reading.PARTS, default="", help="which part a file is (default: by its name)")
    judge.add_argument("--embedder", default=embedding.PUBLISHED, metavar="NAME",
                       help="a model of sentence-transformers (default: %(default)s), or "
                            f"{embedding.LETTERS} for likeness by spelling, without a model")  # fmt: skip
    judge.add_argument("--threshold", type=float, default=plans.THRESHOLD,
                       help="likeness above which two steps can match (default: %(default)s; "
                            f"{plans.OLD_THRESHOLD} in version 1)")  # fmt: skip
    judge.add_argument("--out", type=Path, help="CSV file of the table (default: beside the replies)")
    options = parser.parse_args()
    try:
        _score(options)
    except (FlanError, OSError) as error:
        sys.exit(f"error: {error}")


def _score(options: argparse.Namespace) -> None:
    out = options.out or options.replies.with_name(f"{options.replies.stem}.t_eval.csv")
    if out.is_dir():
        raise FlanError("--out", found=f"the folder {out}", expected="a file", remedy="Add a name.")
    if not 0 <= options.threshold <= 1:
        raise FlanError("--threshold", found=str(options.threshold), expected="0 to 1", remedy="Pass another number.")
    read = [(reading.read(data, options.part), reading.replies(replies)) for data, replies in _pairs(options)]
    needs_vectors = any(part.name in score.NEEDS_VECTORS for part, _ in read)
    embed = embedding.load(options.embedder) if needs_vectors else None
    judged = pd.concat([score.judge(part, replies, embed, threshold=options.threshold) for part, replies in read])
    table = score.table(judged)
    store.write_table(out, table)
    for part, replies in read:
        print(f"{part.name}: {len(replies):,} of {len(part.rows):,} rows answered")
    if needs_vectors:
        print(f"likeness of texts by {options.embedder}" + (
            f", not comparable with published figures, which are by {embedding.PUBLISHED}"
            if options.embedder == embedding.LETTERS else ""))  # fmt: skip
    print(table.to_string(index=False, float_format="{:.3f}".format))
    for ability, points in score.abilities(table).items():
        print(f"{ability}: {points:.1f}")
    print(f"\nwritten to {out}")


def _pairs(options: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Pair files of rows with files of replies, which in folders have the same part's name at their beginnings."""
    if options.data.is_dir() != options.replies.is_dir():
        raise FlanError(str(options.replies), found="a file and a folder", expected="two files, or two folders",
                        remedy="Name both alike.")  # fmt: skip
    if not options.data.is_dir():
        return [(options.data, options.replies)]
    by_part: list[dict[str, Path]] = []
    for folder in (options.data, options.replies):
        found: dict[str, Path] = {}
        for path in sorted([*folder.glob("*.json"), *folder.glob("*.jsonl")]):
            if (part := reading.part_of(path)) in found:
                raise FlanError(str(folder), found=f"{found[part].name} and {path.name}", expected="one file a part",
                                remedy="Take one away, or score single files.")  # fmt: skip
            found[part] = path
        by_part.append(found)
    data, replies = by_part
    if options.part or set(replies) - set(data) or not replies:
        raise FlanError(str(options.replies), found=f"replies to {', '.join(replies) or 'nothing'}",
                        expected=f"replies to {', '.join(data)}, and no --part with folders",
                        remedy="Score single files, or put the rows and their replies into two folders.")  # fmt: skip
    return [(data[part], replies[part]) for part in replies]


if __name__ == "__main__":
    main()
