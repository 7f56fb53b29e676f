"""Adaptation with more than one labelled domain and blank target rows: a few target labels, several labelled domains.

    python benchmarks/adaptation_more.py few        # TrAdaBoost and both controls, 20 and 50 target labels
    python benchmarks/adaptation_more.py several    # four kinds of digits, each the target of the others in turn

Digits of `validators.py`, other seeds than there; accuracy on target rows that no method was given a label of. The
temperature of `domainweights` was chosen among five on seeds 402 and 403.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from headstart import catalog
from headstart.methods.adaptation import Domains
from headstart.nn.heads import choose
from headstart.nn.maps import chain
from headstart.tasks.classification import Classification

sys.path.insert(0, str(Path(__file__).parent))
from validators import digits

TASK = Classification(list(range(10)))


def accuracy(method: str, given: Domains, truth: Any, **settings: Any) -> float:
    """Of a method on the target rows."""
    outputs = chain(catalog.find("methods", method)(**settings).adapt(given)[0], given.target)
    return float((outputs.argmax(axis=1) == truth).mean())


def few(seeds: range) -> None:
    """The first rows of the target domain have labels."""
    print(f"{'':<20}{'labels':>8}{'tradaboost':>12}{'targetonly':>12}{'pooled':>12}")
    for name, X, y, target, truth in digits(seeds):
        if name not in ("digits turned 20", "digits turned 40", "digits strips", "digits same"):
            continue
        for count in (20, 50):
            both, label = np.concatenate([X, target[:count]]), np.concatenate([y, truth[:count]])
            own = np.arange(len(both)) >= len(X)
            recipe = choose(TASK, both, label, "linear")
            given = Domains(TASK, both, label, target[50:], recipe, few=own)
            scores = [
                accuracy(method, given, truth[50:], head="linear")
                for method in ("tradaboost", "targetonly", "sourceonly")
            ]
            print(f"{name:<20}{count:>8}" + "".join(f"{score:>12.3f}" for score in scores), flush=True)


def several(seeds: range) -> None:
    """Four kinds of digits; a target of each kind, and the other three with labels beside 100 rows of its own kind."""
    kinds = ("digits same", "digits blurred", "digits turned 20", "digits strips")
    print(f"{'':<20}{'pooled':>12}{'softmax':>12}{'mixture':>12}")
    for seed in seeds:
        found = {name: rest for name, *rest in digits(range(seed, seed + 1)) if name in kinds}
        for goal in kinds:
            parts = [found[name][2:] if name != goal else [each[:100] for each in found[name][2:]] for name in kinds]
            X, y = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
            domain = np.repeat(np.arange(4), [len(part[1]) for part in parts])
            target, truth = (each[100:] for each in found[goal][2:])
            given = Domains(TASK, X, y, target, choose(TASK, X, y, "linear"), domain)
            scores = [
                accuracy("sourceonly", given, truth),
                *(accuracy("domainweights", given, truth, estimator=each) for each in ("softmax", "mixture")),
            ]
            print(f"{goal:<20}" + "".join(f"{score:>12.3f}" for score in scores), flush=True)


if __name__ == "__main__":
    {"few": few, "several": several}[sys.argv[1]](range(400, 401 if sys.argv[1] == "few" else 402))
