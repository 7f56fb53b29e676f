"""Sounds of real voices and instruments, where the test was recorded otherwise than the training clips.

    python benchmarks/real_sounds.py voices --source voice_encoder
    python benchmarks/real_sounds.py instruments --source musicnn_mtt

voices: who of four people speaks, in the prompts of a telephone exchange (Debian's asterisk-core-sounds-*-wav, 8 kHz,
of at least a second; silences left out). Allison Smith is heard in English for training and in Spanish for the test;
June Wallack (French), Carlo Flora (Italian) and the voice of ivrvoice.ru (Russian) say other prompts in the test than
in training. 50 clips of each person in each part. The score of the run is that of all four; the share of Allison's
Spanish clips that are told right is printed besides.

instruments: twenty General MIDI instruments, ten notes of each from two octaves and a half, as they sound in one sound
font (Debian's timgm6mb-soundfont) for training and in another (fluid-soundfont-gm) for the test; tinysoundfont plays,
and every note is brought to the same peak: the fonts differ in loudness.

Packages are fetched with ``apt-get download`` and pip and unpacked into ``--work``; nothing is installed. What runs is
``headstart fit clips.csv --target label``, with all further flags. Licences: prompts CC BY-SA 3.0 (Russian: CC BY 3.0),
timgm6mb GPL-2, fluid-soundfont MIT.

Bars: voices 0.95, instruments 0.55. Measured: voices with voice_encoder 1.000, log-mel and MFCC statistics 0.930, +7.0
points [+3.5, +11.0]; instruments with musicnn_mtt 0.575, statistics 0.450, +12.5 points [+3.5, +21.5].
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from debian import unpacked

PEOPLE = {
    "en_US_f_Allison": "Allison",
    "es_MX_f_Allison": "Allison",
    "fr_CA_f_June": "June",
    "it_IT_m_Carlo": "Carlo",
    "ru_RU_f_IvrvoiceRU": "Ivrvoice",
}
CLIPS = 50  # of a person in each part

INSTRUMENTS = {
    "piano": 0, "harpsichord": 6, "glockenspiel": 9, "marimba": 12, "church organ": 19, "accordion": 21,
    "nylon guitar": 24, "distorted guitar": 30, "double bass": 32, "violin": 40, "cello": 42, "harp": 46, "choir": 52,
    "trumpet": 56, "trombone": 57, "alto saxophone": 65, "oboe": 68, "clarinet": 71, "flute": 73, "sitar": 104,
}  # fmt: skip
NOTES = range(48, 78, 3)
FONTS = {"train": ("timgm6mb-soundfont", "TimGM6mb.sf2"), "test": ("fluid-soundfont-gm", "FluidR3_GM.sf2")}
RATE = 22050
PLAYER = "tinysoundfont==0.3.7"

Rows = Iterator[tuple[Path, str, str, str]]


def voices(work: Path, clips: int) -> Rows:
    root = unpacked([f"asterisk-core-sounds-{two}-wav" for two in ("en", "es", "fr", "it", "ru")], work / "asterisk")
    for folder, person in PEOPLE.items():
        place = root / "usr/share/asterisk/sounds" / folder
        long = [path for path in sorted(place.rglob("*.wav")) if soundfile.info(path).duration >= 1]
        spoken = [path for path in long if "silence" not in path.parts]
        chosen = [spoken[at] for at in np.random.default_rng(0).permutation(len(spoken))[: 2 * clips]]
        for number, path in enumerate(chosen):
            part = "train" if number < clips else "test"
            if person != "Allison" or number < clips:
                part = part if person != "Allison" else "train" if folder.startswith("en") else "test"
                yield path, person, part, folder[:2]


def instruments(work: Path, clips: int) -> Rows:
    packages = unpacked([package for package, _ in FONTS.values()], work / "fonts")
    player = work / "player"
    if not player.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(player), PLAYER]
        subprocess.run(command, check=True)
    sys.path.insert(0, str(player))
    import tinysoundfont

    for part, (_, font) in FONTS.items():
        synth = tinysoundfont.Synth(samplerate=RATE, gain=-6)
        known = synth.sfload(str(packages / "usr/share/sounds/sf2" / font))
        for name, program in INSTRUMENTS.items():
            synth.program_select(0, known, 0, program)
            for note in NOTES:
                place = work / "notes" / part / name / f"{note}.wav"
                place.parent.mkdir(parents=True, exist_ok=True)
                synth.noteon(0, note, 100)
                held = np.frombuffer(bytes(synth.generate(int(1.5 * RATE))), np.float32)
                synth.noteoff(0, note)
                after = np.frombuffer(bytes(synth.generate(RATE // 2)), np.float32)
                synth.sounds_off()
                synth.generate(RATE // 2)
                wave = np.concatenate([held, after]).reshape(-1, 2)
                soundfile.write(place, 0.5 * wave / np.abs(wave).max(), RATE)
                yield place, name, part, part


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("voices", "instruments"))
    parser.add_argument("--work", type=Path, default=Path("runs/real-sounds"))
    parser.add_argument("--source", default="voice_encoder")
    parser.add_argument("--method", default="probe")
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--clips", type=int, default=CLIPS, help="of a person in each part")
    given, further = parser.parse_known_args()  # such as --layers last
    work = given.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    rows = list({"voices": voices, "instruments": instruments}[given.what](work, given.clips))
    table = work / f"{given.what}.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *(row[:3] for row in rows)])
    run = work / f"{given.what}-run"
    command = ["fit", str(table), "--target", "label", "--source", given.source, "--method", given.method]
    command += ["--budget", given.budget, "--fresh", *further]
    subprocess.run([sys.executable, "-m", "headstart", *command, "--out", str(run)], check=True)
    if given.what == "voices":
        import headstart

        spanish = [str(path) for path, _, _, language in rows if language == "es"]
        said = headstart.load(run).predict(spanish).values
        print(f"Allison in Spanish, heard in English before: {np.mean(np.asarray(said) == 'Allison'):.3f}")


if __name__ == "__main__":
    main()
