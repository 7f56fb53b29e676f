"""``headstart verify``: the same voice or not, by the features of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest

import headstart
from headstart import verifying
from headstart.cli import main
from headstart.errors import ArtefactError, DataError, UsageError
from tests.conformance.examples import tiny_whisper

soundfile = pytest.importorskip("soundfile")


def voice(generator: np.random.Generator, hertz: float) -> np.ndarray:
    times = np.arange(4000) / 8000
    tone = sum(np.sin(2 * np.pi * hertz * k * times + generator.uniform(0, 6)) / k for k in (1, 2, 3))
    return (0.2 * tone + 0.01 * generator.normal(size=4000)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two voices that a run was fitted on, and eight others."""
    place, generator = tmp_path_factory.mktemp("verify"), np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_HOME", str(place / "home"))
        for folder, pitches in (("known", (150, 1900)), ("others", (200, 310, 450, 640, 900, 1250, 1700, 2300))):
            for pitch in pitches:
                for number in range(8):
                    path = place / folder / f"p{pitch}" / f"{number}.wav"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(path, voice(generator, pitch * generator.uniform(0.98, 1.02)), 8000)
        headstart.fit(
            place / "known", source=tiny_whisper(place), method="probe", control=False, out=place / "run",
            precision="fp32", settings={"layers": "last"},
        )  # fmt: skip
        yield place


@pytest.mark.slow
def test_a_run_says_who_is_the_same(place, capsys):
    run = headstart.load(place / "run")
    with pytest.raises(UsageError, match="--calibrate"):
        verifying.verify(run, ["a.wav", "b.wav"])
    found = verifying.calibrate(run, place / "others", enrolled=2)
    assert not set(found.chosen_on) & set(found.judged_on) and len(found.chosen_on) + len(found.judged_on) == 8
    assert found.eer < 0.2 and found.min_dcf <= found.dcf and found.threshold < 1
    low, high = (sorted((place / "known" / name).glob("*.wav")) for name in ("p150", "p1900"))
    assert verifying.verify(run, [*low[:3], low[5]]).same
    answer = verifying.verify(run, [*low[:3], high[5]])
    assert not answer.same and answer.enrolled == 3 and answer.score < answer.threshold == found.threshold
    assert main(["verify", str(place / "run"), str(high[0]), str(high[1]), "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("the same: likeness")
    words = ["verify", str(place / "run"), str(high[0]), str(low[1]), "--calibrate", str(place / "others"), "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["same"] is False and said["calibration"]["enrolled"] == 3


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused(place, capsys):
    run = headstart.load(place / "run")
    with pytest.raises(DataError, match="2 labels have more than 3 clips") as caught:
        verifying.calibrate(run, place / "known")
    assert caught.value.code == "HS-DATA-012"
    verifying.calibrate(run, place / "others")
    (place / "texts" / "a").mkdir(parents=True)
    for number in range(9):
        (place / "texts" / "a" / f"{number}.txt").write_text(f"text {number}")
    with pytest.raises(DataError, match="holds text; the run reads audio"):
        verifying.calibrate(run, place / "texts")
    table = {"audio": [str(path) for path in sorted((place / "others").rglob("*.wav"))]}
    table["label"] = [path.split("/")[-2] for path in table["audio"]]
    assert verifying.calibrate(run, table) == verifying.calibrate(run, place / "others")
    one = str(next((place / "known").rglob("0.wav")))
    with pytest.raises(UsageError, match="one sample alone"):
        verifying.verify(run, [one])
    with pytest.raises(DataError, match=r"(?s)HS-DATA-001.*0.wv: does not exist. Did you mean \"0.wav\".*nowhere.wav"):
        verifying.verify(run, [one.replace("0.wav", "0.wv"), place / "nowhere.wav"])
    silent = place / "silent.wav"
    soundfile.write(silent, np.zeros(4000), 8000)
    with pytest.raises(DataError, match="silent"):
        verifying.verify(run, [one, silent])
    file = place / "run" / verifying.FILE
    kept = file.read_text()
    file.write_text(json.dumps({**json.loads(kept), "weights": "other"}))
    with pytest.raises(ArtefactError, match="other weights"):
        verifying.verify(run, [one, one])
    file.write_text(kept[:50])
    with pytest.raises(ArtefactError, match="damaged"):
        verifying.verify(run, [one, one])
    assert main(["verify", str(place / "run")]) == 2 and "nothing to compare" in capsys.readouterr().err
