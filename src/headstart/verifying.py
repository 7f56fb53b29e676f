"""The verb ``verify``: do two samples come from the same one, by the features of a run (who speaks, whose face).

    headstart verify RUN --calibrate clips/          # once: a threshold, and what it is worth on others
    headstart verify RUN enrolled.wav ... asked.wav  # the last one against those before it

What is compared is the cosine between the features that the run's model reads. (Less the mean of the clips that choose
the threshold, it told nine voices apart no better, and the threshold was of no use for others.) The threshold comes
from labelled clips that are no part of the question: half of their labels (speakers) choose it, at equal errors, and
the other half, none of whom took part, say how often it errs. Labels need not be those of the run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import disk
from headstart.artefact import Artefact
from headstart.datasets import clip
from headstart.datasets.read import read
from headstart.errors import ArtefactError, DataError, HeadstartError, UsageError, did_you_mean, raise_all
from headstart.evidence.verification import cost_at, equal_error_rate, likeness, minimum_cost, rates_at, trials
from headstart.methods.network import NetworkFitted
from headstart.types import Json, Sample

FILE = "verification.json"
LEAST = 4  # labels, so that two choose and two judge
MANY = 10  # labels that should choose


@dataclass(frozen=True)
class Calibration:
    """A threshold and how it was found. enrolled: clips that stand for a label.

    chosen_on, judged_on: labels that chose the threshold, and those on which the rates were measured. eer, min_dcf,
    dcf: on the latter; misses, alarms: at the threshold. weights: digest of the network whose features are meant.
    """

    threshold: float
    enrolled: int
    chosen_on: list[str]
    judged_on: list[str]
    trials: int
    eer: float
    min_dcf: float
    dcf: float
    misses: float
    alarms: float
    outputs: list[str]
    weights: str


@dataclass(frozen=True)
class Answered:
    """Whether the sample is the enrolled one. score: cosine. threshold: from which on it is."""

    same: bool
    score: float
    threshold: float
    enrolled: int

    def to_json(self) -> Json:
        """The same as plain JSON."""
        return asdict(self)


def calibrate(run: Artefact, data: Any, *, enrolled: int = 3, seed: int = 0) -> Calibration:
    """Choose a threshold on half of the labels of ``data`` and measure it on the other half; kept in the run's folder.

    data: a folder of class folders, or labelled rows as the run reads them. enrolled: clips that stand for a label.

    Raises UsageError HS-USAGE-001 for a run whose model reads no features of a source, DataError
    HS-DATA-012 for fewer than four labels with more than ``enrolled`` clips.
    """
    fitted = _reader(run)
    rows = read(data) if isinstance(data, str | Path) and Path(data).is_dir() else run.read(data, labelled=True)
    if rows.modality != fitted.source.card.modality:
        raise DataError(
            "HS-DATA-015", f"{rows.origin} holds {rows.modality}; the run reads {fitted.source.card.modality}.",
            "Give labelled samples of that kind.",
        )  # fmt: skip
    labels = np.asarray([str(label) for label in rows.targets()])
    names, counts = np.unique(labels, return_counts=True)
    able = names[counts > enrolled]
    if len(able) < LEAST:
        raise DataError(
            "HS-DATA-012",
            f"{rows.origin}: {len(able)} labels have more than {enrolled} clips; expected {LEAST} or more.",
            "Give clips of more speakers, or fewer of each with --enrolled 1.",
        )
    features = fitted.extractor.matrix(rows.without("target"), fitted.outputs_used)
    shuffled = np.random.default_rng(seed).permutation(able)
    chooses, judges = np.sort(shuffled[: len(able) // 2]), np.sort(shuffled[len(able) // 2 :])
    first, second = np.isin(labels, chooses), np.isin(labels, judges)
    known = trials(features[first], labels[first], enrolled=enrolled, seed=seed)
    asked = trials(features[second], labels[second], enrolled=enrolled, seed=seed)
    threshold = equal_error_rate(*known)[1]
    misses, alarms = rates_at(threshold, *asked)
    found = Calibration(
        threshold, enrolled, chooses.tolist(), judges.tolist(), len(asked[0]), equal_error_rate(*asked)[0],
        minimum_cost(*asked)[0], cost_at(threshold, *asked), misses, alarms, list(fitted.outputs_used),
        fitted.source.card.digest,
    )  # fmt: skip
    disk.replace_text(run.folder / FILE, json.dumps(asdict(found), indent=1))
    return found


def verify(run: Artefact, samples: Sequence[Sample]) -> Answered:
    """Whether the last of the samples is the one whom those before it are of.

    Raises UsageError HS-USAGE-001 for fewer than two samples or a run that has no threshold, DataError HS-DATA-001 for
    files that are not there, another DataError for a sample that cannot be read, ArtefactError
    HS-ARTEFACT-004 for a threshold that belongs to other weights.
    """
    fitted = _reader(run)
    if len(samples) < 2:
        raise UsageError("HS-USAGE-001", "one sample alone cannot be compared.", "Give two: enrolled.wav asked.wav.")
    known = calibration(run.folder)
    if known.weights != fitted.source.card.digest or known.outputs != list(fitted.outputs_used):
        raise ArtefactError(
            "HS-ARTEFACT-004", f"{run.folder / FILE} belongs to other weights.", "Calibrate again with --calibrate."
        )
    if fitted.source.card.modality in ("audio", "image"):
        raise_all([_absent(Path(each)) for each in samples if isinstance(each, str | Path) and not _there(each)])
    rows = run.read([str(sample) if isinstance(sample, Path) else sample for sample in samples])
    if rows.rejects:
        first = rows.rejects[0]
        raise DataError("HS-DATA-010", f"{first.path or first.row}: {first.reason}.", "Give another clip.")
    features = fitted.extractor.matrix(rows, fitted.outputs_used)
    score = float(likeness(features[:-1], features[-1:])[0])
    return Answered(score >= known.threshold, score, known.threshold, len(samples) - 1)


def _there(sample: str | Path) -> bool:
    return Path(clip.parted(str(sample))[0]).is_file()


def _absent(path: Path) -> HeadstartError:
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return DataError("HS-DATA-001", f"{path}: does not exist.", did_you_mean(path.name, near) if near else "")


def calibration(folder: Path) -> Calibration:
    """What `calibrate` left in a run. Raises UsageError HS-USAGE-001 where there is none."""
    try:
        return Calibration(**json.loads((folder / FILE).read_text()))
    except FileNotFoundError as error:
        raise UsageError(
            "HS-USAGE-001", f"{folder} has no threshold yet.", f"Find one: headstart verify {folder} --calibrate CLIPS"
        ) from error
    except (ValueError, TypeError) as error:
        raise ArtefactError(
            "HS-ARTEFACT-004", f"{folder / FILE} is damaged ({error}).", "Calibrate again with --calibrate."
        ) from error


def _reader(run: Artefact) -> NetworkFitted:
    if not isinstance(run.fitted, NetworkFitted) or run.fitted.outputs_used == ("tokens",):
        raise UsageError(
            "HS-USAGE-001",
            f"{run.folder}: its model ({run.fitted.method.name}) compares nothing: it has no features of one source.",
            "Fit with --method probe or prototypes and a source such as voice_encoder.",
        )
    return run.fitted
