"""``headstart verify RUN a.wav b.wav``: whether two samples come from the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.console import Answer, Progress
from headstart.errors import UsageError
from headstart.options import Quiet, Seed


def verify(
    run: Annotated[Path, typer.Argument(help="A run whose model reads a source.", metavar="RUN")],
    samples: Annotated[
        list[str] | None,
        typer.Argument(help="Files: one or more of the known one, and last the one in question.", metavar="FILE..."),
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="Labelled samples that choose the threshold, such as a folder of speakers.")
    ] = None,
    enrolled: Annotated[int, typer.Option(min=1, help="Samples that stand for a label while calibrating.")] = 3,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> Answer:
    """Say whether samples come from the same speaker, by the features of a run. --calibrate finds the threshold."""
    from headstart import artefact, verifying

    if not samples and calibrate is None:
        raise UsageError("HS-USAGE-001", "there is nothing to compare.", "Give two files, or --calibrate CLIPS.")
    loaded = artefact.load(run)
    data: dict[str, object] = {"run": str(run)}
    lines = []
    with Progress(quiet) as report:
        report("verify", 0, 1)
        if calibrate is not None:
            found = verifying.calibrate(loaded, calibrate, enrolled=enrolled, seed=seed)
            data["calibration"] = vars(found)
            lines += [
                f"threshold {found.threshold:.3f}, from {len(found.chosen_on)} labels, {found.enrolled} files enrolled",
                f"on {len(found.judged_on)} others ({found.trials:,} trials): EER {found.eer:.3f}, minDCF "
                f"{found.min_dcf:.3f}; at the threshold {found.misses:.1%} missed, {found.alarms:.1%} false alarms",
            ]
            if len(found.chosen_on) < verifying.MANY:
                lines.append(f"fewer than {verifying.MANY} labels chose it: of more the threshold would be surer")
        if samples:
            answer = verifying.verify(loaded, samples)
            data |= answer.to_json()
            said = "the same" if answer.same else "not the same"
            lines.append(f"{said}: likeness {answer.score:.3f}, threshold {answer.threshold:.3f}")
        report("verify", 1, 1)
    return Answer(data, "\n".join(lines))
