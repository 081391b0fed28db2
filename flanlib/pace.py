"""What runs and trials take, before they start: their minutes, from the manifests of those that are finished."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from flanlib import store

TUNING = "tuning"


class Work(NamedTuple):
    """An amount of one kind of work with one model, in the unit of its kind: tokens, items or examples."""

    kind: str
    model: str
    amount: int


def work(name: str, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Work:
    """Return what a run is, from its name, its config, and what its manifest says or will say.

    Runs train on ``tokens``, trials judge ``items`` in a protocol, measurements read ``examples``.
    """
    model = str(config.get("model"))
    if "schedule" in config:
        return Work(TUNING, model, facts["tokens"])
    if "items" in facts:
        return Work(f"{name.split('-')[1]} {config.get('protocol')}", model, facts["items"])
    return Work("nats", model, facts.get("examples", 0))


@lru_cache(maxsize=2048)
def _finished(manifest: Path) -> tuple[str, Work, float]:
    content = json.loads(manifest.read_text(encoding="utf-8"))
    return content["machine"], work(content["name"], content["config"], content), content["wall_seconds"]


def paces() -> dict[tuple[str, str], dict[str, float]]:
    """Return seconds per unit, by machine and model and then by kind: medians over runs made here or shipped."""
    taken: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for folder in (store.RUNS, store.RESULTS):
        for manifest in sorted(folder.glob(f"*/{store.MANIFEST}")):
            machine, done, seconds = _finished(manifest)
            if done.amount:
                taken[machine, done.model][done.kind].append(seconds / done.amount)
    return {place: {kind: median(each) for kind, each in kinds.items()} for place, kinds in taken.items()}


def took(folders: Iterable[Path]) -> tuple[float, float]:
    """Return the seconds that finished runs took one by one, for training and for everything else."""
    training, other = 0.0, 0.0
    for folder in folders:
        _, done, seconds = _finished(folder / store.MANIFEST)
        training, other = (training + seconds, other) if done.kind == TUNING else (training, other + seconds)
    return training, other


def seconds(works: Iterable[Work], measured: Callable[[], float | None] = lambda: None) -> float | None:
    """Return about how long works take on this machine, one by one; None if there is nothing to tell it by.

    Each takes as long as finished ones of its kind and model did here. If there are none, finished ones of other models
    or machines tell how long its kind takes relative to training, and ``measured()``, which is asked once at most, how
    many seconds this model trains for each token here.
    """
    known, total, measured = paces(), 0.0, lru_cache(maxsize=1)(measured)
    for kind, model, amount in works:
        here = known.get((store.machine(), model), {})
        if kind not in here:
            token = here.get(TUNING) or measured()
            relative = [each[kind] / each[TUNING] for each in known.values() if kind in each and TUNING in each]
            if not token or not (relative or kind == TUNING):
                return None
            here = {kind: token * (1.0 if kind == TUNING else median(relative))}
        total += amount * here[kind]
    return total


def spoken(seconds: float) -> str:
    """Say a time.

    >>> spoken(20), spoken(70), spoken(3000), spoken(9000)
    ('less than a minute', 'about 1 min', 'about 50 min', 'about 2 h 30 min')
    """
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours and not minutes:
        return "less than a minute"
    return "about " + " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min")) if n)
