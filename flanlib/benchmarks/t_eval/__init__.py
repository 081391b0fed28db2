"""T-Eval (Chen et al., 2312.14033): a model's tool use, scored one ability at a time, as the paper's tables do.

Of its rows, version 1 of ``plan_json``, ``plan_str`` (553 each) and ``review_str`` (487) can be had from the history of
open-compass/T-Eval; ``review`` needs no embeddings, so its score is exact. The rows of instruct, reason, retrieve and
understand, and all of version 2, lie behind a download page only. Their scorers here follow the published code, and
work on those files for whoever has them. Read ``single`` first, then ``plans``; ``score`` averages, and ``reading``
says which files are read. The command is ``python -m flanlib.benchmarks.t_eval score DATA REPLIES``.

Where this differs from open-compass's code, on purpose: a reply form's template is literal text, not a regular
expression; a plan of nothing but FinishAction scores 0 where theirs stops with an error; and beside their F1, in which
a plan without any matched step still counts as one match, ``f1 of matches`` is 0 for it.
"""
