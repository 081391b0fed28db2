"""Pictures: each is a function from a tidy DataFrame to a Figure, and ``save`` writes the figure and its table.

Every kind and every form looks the same in all pictures: colour, dash, marker, hatch and underline, so that no reader
depends on colour alone. ``low`` and ``high`` bound 95 % intervals, or the range over seeds in curves. NaN draws no
interval. ``n`` counts what an estimate is computed from (argument ``of``: seeds, tasks and so on). Shares and scores
range from 0 to 1 in tables; scores are drawn as points of 100, as the paper prints them.
"""

from flanlib.report.figures.bench import peers
from flanlib.report.figures.learning import content_by_form, distance, learning_speeds, loss_by_kind, speeds
from flanlib.report.figures.rivals import growth, rivals
from flanlib.report.figures.scores import answers, gains, kind_shares, report_card, skill_by_tokens, table2
from flanlib.report.figures.style import BANNER, FORM_NAMES, STYLE, save

__all__ = [
    "BANNER", "FORM_NAMES", "STYLE", "answers", "content_by_form", "distance", "gains", "growth", "kind_shares",
    "learning_speeds", "loss_by_kind", "peers", "report_card", "rivals", "save", "skill_by_tokens", "speeds", "table2",
]  # fmt: skip
