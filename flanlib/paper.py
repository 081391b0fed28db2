"""The paper's published numbers, read from ``data/paper/*.csv``.

Every row is one number. The columns before ``value`` say what it measures. ``basis`` is ``printed`` (in the paper),
``notes`` (from public notes about it) or ``derived`` (from printed numbers). ``where`` is its place in the paper, and
``note`` explains contradictions and gaps. ``value`` is empty if the paper does not report the number.
"""

import pandas as pd

from flanlib.presets import BROUGHT
from flanlib.records import FlanError

ABOUT = ("value", "unit", "basis", "where", "note")


def table(name: str) -> pd.DataFrame:
    """Read one of table1 to table4, table6, figure2 and recipe, with one number per row, or raise FlanError."""
    paths = {path.stem: path for path in sorted((BROUGHT / "paper").glob("*.csv"))}
    if name not in paths:
        raise FlanError("data/paper", found=f"no table {name!r}", expected=f"one of {', '.join(paths)}",
                        remedy="Check the name.")  # fmt: skip
    frame = pd.read_csv(paths[name], dtype=str, keep_default_na=False, encoding="utf-8")
    return frame.assign(value=pd.to_numeric(frame["value"]))


def number(name: str, **keys: str) -> float:
    """Look up one published number.

    Raises FlanError unless the keys match exactly one row, and for a number that the paper does not report.

    >>> number("table1", model="Agent-FLAN", score="overall")
    41.7
    """
    rows, where = table(name), f"data/paper/{name}.csv"
    allowed = [column for column in rows.columns if column not in ABOUT]
    if set(keys) - set(allowed):
        raise FlanError(where, found=f"keys {', '.join(keys)}", expected=f"keys among {', '.join(allowed)}",
                        remedy="Use the columns of the table.")  # fmt: skip
    for key, value in keys.items():
        values = rows[key].unique()
        if value not in values:
            raise FlanError(where, found=f"no row with {key}={value!r}", expected=f"one of {', '.join(values)}",
                            remedy="Check the spelling.")  # fmt: skip
        rows = rows[rows[key] == value]
    if len(rows) > 1:
        raise FlanError(where, found=f"{len(rows)} rows that match", expected="one row",
                        remedy=f"Give all of {', '.join(allowed)}.")  # fmt: skip
    row = rows.iloc[0]
    if pd.isna(row["value"]):
        raise FlanError(where, found=f"an empty value ({row['where']}: {row['note']})", expected="a published number",
                        remedy="The paper does not report it. Leave it out.")  # fmt: skip
    return float(row["value"])
