"""Auto: the budget is spent from cheap and safe to costly, and the next step is taken only while validation improves.

First come the heads on frozen features, which take seconds and cannot ruin the source: from then on there is a usable
model. Then the network is trained, if an estimate says that it fits into the time that is left: for few labels by pairs
(contrastive), else by fine-tuning (LoRA where the network is too large for its optimiser), then averages of several
fine-tunings. A step that does not improve the score ends the search. Scores are those of the validation part, or, under
`FEW` labelled rows, of cross-validation in which every candidate makes all of its own choices anew. Where so few labels
cannot tell the best head from the trained network, the mean of both is taken (`headstart.methods.ensemble`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from headstart import catalog
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, admits, hyper
from headstart.methods.ensemble import Ensemble, EnsembleFitted, equally_sure, mean
from headstart.methods.network import GradientMethod, Network, Rows
from headstart.methods.selection import FEW, out_of_fold, validation_part
from headstart.runtime import Extractor, bf16_is_native, device
from headstart.tasks.base import Task
from headstart.types import Candidate, metric_name

FEW_A_CLASS = 64  # labelled rows a class up to which the methods for few labels are tried
LARGE = 150_000_000  # parameters from which low-rank adapters train in place of the whole network
LEAST = 5.0  # seconds that must be there to train a network
CLEARLY = 2.0  # standard errors from which a difference is one


@dataclass(frozen=True)
class Trial:
    """A method that was tried. score: headline metric on validation. gain: over the best before it, in the metric.
    outputs: of the rows that it was judged on.
    """

    fitted: Fitted
    score: float
    loss: float
    seconds: float
    gain: float | None
    outputs: Any


@dataclass(frozen=True)
class Auto(Method):
    """The best of several methods, from cheap to costly, as far as the budget goes and validation improves."""

    name: ClassVar[str] = "auto"
    uses: ClassVar[tuple[Need, ...]] = ("network", "unlabelled")
    ranks: ClassVar[bool] = True

    effort: Literal["quick", "balanced", "thorough"] = hyper(
        "balanced", "how much to try: quick trains no network", choices=("quick", "balanced", "thorough")
    )
    among: str = hyper("", "methods to try in this order, with commas; empty = by effort, rows and source")
    folds: int = hyper(5, "folds where candidates are compared by cross-validation", low=2, high=50)

    def fit(self, problem: Problem) -> Fitted:
        """The best method fitted; ``fitted.tried`` says what else was tried, and a note why it stopped."""
        frozen, trained = self.candidates(problem)
        tried: list[Trial] = []
        reason = "nothing is left to try"
        for method in frozen:
            tried.append(self._try(problem, method, tried))
        pace = row_seconds(problem) if trained and problem.deadline is not None else 0.0
        for method in trained:
            shorter, folds, needed = self._within(problem, method, pace)
            left = problem.seconds_left
            if left is not None and max(needed, LEAST) > left / 2:
                reason = f"{method.name} would take about {needed:.0f} s of the {max(0.0, left / 2):.0f} s it may have"
                break
            tried.append(self._try(problem, shorter, tried, folds))
            if tried[-1].gain is not None and tried[-1].gain <= 0:
                reason = f"{method.name} did not improve it"
                break
        best = self._best(problem, tried)
        if isinstance(best.fitted, EnsembleFitted):
            tried.append(best)
            reason += f"; {best.fitted.description}: these rows do not tell which is better"
        fitted = best.fitted
        if problem.valid is None and not fitted.method.gradients and len(problem.train) >= FEW:
            fitted = fitted.method.fit(problem)  # a closed form wants all labels
        fitted.tried = [_candidate(trial) for trial in tried]
        problem.notes.append(told(tried, problem.task.metric, reason))
        return fitted

    def settled(self, fitted: Fitted) -> Method:
        """The frozen steps, and the trained one only where it was the best: the others lost on all rows. Where items
        are ranked and one step is left, that one, which makes its choices by itself.
        """
        kept = [each.name for each in fitted.tried]
        used = [fitted.method.name]
        if isinstance(fitted, EnsembleFitted):
            used = [each.method.name for each in fitted.models]
        lost = {name for name in kept if catalog.find("methods", name).gradients} - set(used)
        names = [name for name in kept if name not in lost]
        if len(names) == 1 and fitted.task.needs == "items":
            return catalog.find("methods", names[0])()  # type: ignore[no-any-return]
        return replace(self, among=",".join(names))

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """What the probe reads: all frozen steps read the same or less. Nothing where items are ranked."""
        if task.needs == "items":
            return []
        read: list[str] = catalog.find("methods", "probe")().outputs_read(extractor, task)
        return read

    # --- which ---------------------------------------------------------------------------------------------------

    def candidates(self, problem: Problem) -> tuple[list[Method], list[Method]]:
        """The methods on frozen features, and those that train the network, each in the order of trying."""
        if self.among:
            names = [name.strip() for name in self.among.split(",")]
        else:
            names = planned(problem, self.effort)
        methods = [catalog.find("methods", name)() for name in names]
        if self.effort == "thorough":
            methods = [_longer(method) for method in methods]
        admitted = [
            method for method in methods if admits(method, problem.task, problem.source, problem.train, problem.given)
        ]
        if not admitted:
            raise MethodError(
                "HS-METHOD-003", f"auto: none of {', '.join(names)} fits this task and source.", "Name one by --method."
            )
        trained = [method for method in admitted if method.gradients]
        return [method for method in admitted if not method.gradients], trained

    def _best(self, problem: Problem, tried: Sequence[Trial]) -> Trial:
        """The best score; of equals a head, and of those the least loss. Of few labels see `_of_few`."""
        if problem.valid is None and len(problem.train) < FEW and problem.task.name in Ensemble.tasks:
            return self._of_few(problem, tried)
        level = [trial for trial in tried if trial.score == max(other.score for other in tried)]
        cheap = [trial for trial in level if not trial.fitted.method.gradients]  # what costs more has to gain something
        return min(cheap or level, key=lambda trial: trial.loss)

    def _of_few(self, problem: Problem, tried: Sequence[Trial]) -> Trial:
        """The best head and the best trained network: the better one, or their mean where they are not told apart.

        Self-training, which takes the unlabelled rows as far as they help, gives way only to a head clearly better.
        """
        task, targets = problem.task, problem.task.encode(problem.train.targets())

        def surest(trials: Sequence[Trial]) -> Trial | None:
            return min(trials, key=lambda trial: (-trial.score, trial.loss), default=None)

        head = surest([trial for trial in tried if not trial.fitted.method.gradients])
        network = surest([trial for trial in tried if trial.fitted.method.gradients])
        spread = next((trial for trial in tried if trial.fitted.method.name == "selftrain"), None)
        if head is not None and spread is not None and told_apart(task, targets, spread, head) >= -CLEARLY:
            head = spread
        if head is None or network is None:
            found = head or network
            assert found is not None
            return found
        lead = told_apart(task, targets, network, head)
        if lead == 0 or abs(lead) > CLEARLY:
            return network if lead > 0 else head
        pair = (head, network)
        factors = equally_sure(task, [each.outputs for each in pair])
        method = Ensemble(of=",".join(each.fitted.method.name for each in pair))
        both = EnsembleFitted(method, task, [each.fitted for each in pair], factors)
        outputs = mean(task, [factor * each.outputs for factor, each in zip(factors, pair)])
        score = task.score(outputs, targets)
        gain = score - max(trial.score for trial in tried)
        return Trial(both, score, _loss(task, outputs, targets), 0.0, gain, outputs)

    # --- trying --------------------------------------------------------------------------------------------------

    def _try(self, problem: Problem, method: Method, before: Sequence[Trial], folds: int = 0) -> Trial:
        """Fit and score one method; folds: 0 = the setting. One that trains a network gets half of the time left."""
        started = time.monotonic()
        task, left = problem.task, problem.seconds_left
        if method.gradients and left is not None:
            problem = problem.replace(deadline=started + max(1.0, left / 2))
        if problem.valid is None and len(problem.train) < FEW:
            outputs = out_of_fold(method, problem, folds or self.folds)
            fitted, targets = method.fit(problem), task.encode(problem.train.targets())
        else:
            part = validation_part(problem)
            fitted = method.fit(part)
            judged = part.valid if part.valid is not None else part.train
            outputs, targets = fitted.outputs(judged.without("target")), task.encode(judged.targets())
        score, loss = task.score(outputs, targets), _loss(task, outputs, targets)
        best = max((trial.score for trial in before), default=None)
        return Trial(fitted, score, loss, time.monotonic() - started, None if best is None else score - best, outputs)

    def _within(self, problem: Problem, method: Method, pace: float) -> tuple[Method, int, float]:
        """The method, its folds and its seconds: no more passes than fit into half of the time that is left.

        Of few rows the folds are cut down first, then the passes, to one at least. pace: `row_seconds`.
        """
        rows, left, folds = len(problem.train), problem.seconds_left, min(self.folds, 3)
        half = np.inf if left is None else left / 2

        def seconds(method: Method, folds: int) -> float:
            crossed = problem.valid is None and rows < FEW
            parts = [rows, *[rows - rows // folds] * folds] if crossed else [rows]
            return pace * sum(method.rows_trained(part) for part in parts)

        if seconds(method, folds) > half:
            folds = 2
        needed = seconds(method, folds)
        if isinstance(method, GradientMethod) and needed > half:
            passes = method.epochs or round(method.rows_trained(rows) / rows)
            method = replace(method, epochs=max(1, int(passes * half / needed)))
            needed = seconds(method, folds)
        return method, folds, needed


def planned(problem: Problem, effort: str) -> list[str]:
    """Names of the methods worth trying on these rows, cheapest first; those that do not fit are left out later."""
    if problem.source is not None and problem.source.in_context:
        return ["incontext"]
    if problem.train.modality == "table" and problem.source is not None and problem.source.classifier is not None:
        return ["probe", "boosting"] if effort == "quick" else ["probe", "boosting", "finetune"]
    if problem.task.needs == "items":
        return ["ease", "factors"] if effort == "quick" else ["ease", "factors", "sasrec", "two_tower"]
    names = ["probe"]
    rows = len(problem.train)
    few = rows <= FEW_A_CLASS * max(1, len(problem.task.classes))
    if few:
        names.append("prototypes")
    if problem.unlabelled is not None:
        names.append("selftrain")
    if effort == "quick":
        return names
    if few:
        names.append("contrastive")
    if not few or effort == "thorough":
        large = problem.source is not None and problem.source.card.parameters > LARGE
        names.append("lora" if large else "finetune")
    if effort == "thorough" and not few:
        names.append("soup")
    return names


def row_seconds(problem: Problem) -> float:
    """Seconds that one row takes forwards and backwards, measured on one small batch; nothing is changed by it."""
    assert problem.source is not None
    source, where = problem.source.clone(), device()
    head = problem.task.head(source.card.width)
    network = Network(source, head, (problem.task.needs,)).to(where)
    chosen = np.linspace(0, len(problem.train) - 1, min(16, len(problem.train))).astype(int)
    batch, target = Rows(problem.train, problem.task, source).batch(chosen, True)
    bf16 = problem.precision != "fp32" and bf16_is_native()
    started = 0.0
    for _ in range(2):  # the first pass warms up
        started = time.monotonic()
        with torch.autocast(where.type, torch.bfloat16, enabled=bf16):
            loss = problem.task.loss(network(batch.to(where)).float(), target.to(where))["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        if where.type == "cuda":
            torch.cuda.synchronize()
    return (time.monotonic() - started) / len(chosen)


def told_apart(task: Task, targets: Any, one: Trial, other: Trial) -> float:
    """By how many standard errors one scores higher than the other, rows resampled in pairs; 0 where no row differs."""
    statistics = [task.statistics(trial.outputs, targets) for trial in (one, other)]
    draws = np.random.default_rng(0).multinomial(len(targets), np.full(len(targets), 1 / len(targets)), size=200)
    first, second = (np.asarray(task.combine(draws @ each)) for each in statistics)
    error = float(np.std(first - second))
    return 0.0 if error == 0 else (one.score - other.score) / error


def told(tried: Sequence[Trial], metric: str, reason: str) -> str:
    """One line: what was tried, what each cost and gained, and why it stopped."""
    parts = []
    for trial in tried:
        gain = "" if trial.gain is None else f", {100 * trial.gain:+.1f}"
        parts.append(f"{trial.fitted.method.name} {trial.score:.3f} ({trial.seconds:.0f} s{gain})")
    return f"Tried, {metric_name(metric)} on validation: {', '.join(parts)}. Stopped: {reason}."


def _longer(method: Method) -> Method:
    return replace(method, epochs=2 * method.epochs) if isinstance(method, GradientMethod) else method


def _loss(task: Task, outputs: object, targets: object) -> float:
    """The task's own loss, which tells apart what the metric cannot; 0 for token tasks."""
    if isinstance(targets, list):
        return 0.0
    return float(task.loss(torch.as_tensor(outputs), torch.as_tensor(targets))["loss"])


def _candidate(trial: Trial) -> Candidate:
    method = trial.fitted.method
    return Candidate(
        method.name, method.role, trial.fitted.description, trial.score, None, trial.seconds, method.hyperparameters()
    )
