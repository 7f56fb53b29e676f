"""From sound files to features of Whisper's encoder: Headstart against the plain call of transformers, same weights.

    python benchmarks/audio_features.py --clips 200 --threads 1

The clips are WAV files of 2 seconds at 22 050 Hz, made here. Each side runs in a process of its own, one after the
other; its clock starts after the imports, with the weights on the disk, and covers reading, opening the source, the
spectrogram, the pass, and on our side choosing the backend and storing. The other side is what people write: resample,
``WhisperFeatureExtractor`` (which pads to 30 seconds), the encoder in batches of 16, mean over the frames.

"Agreement" is the cosine between mean features of the same clip, ours of 5 seconds and theirs of the 2 seconds of 30
that hold the clip, after the mean over all clips is taken from both.

Bar: 3x.

Measured, 1 000 clips, one thread of two: 627.6 s against 25.1 s (OpenVINO, bf16), 25.0x; agreement 0.882 (worst 0.665).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, RATE = 2.0, 22050


def clips(folder: Path, count: int) -> None:
    """Vowel-like sounds of changing pitch and colour, with pauses and some noise."""
    import soundfile

    generator = np.random.default_rng(0)
    times = np.arange(round(SECONDS * RATE)) / RATE
    for number in range(count):
        pitch = generator.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * generator.uniform(0.3, 3) * times))
        phase, centre = 2 * np.pi * np.cumsum(pitch) / RATE, generator.uniform(400, 2500)
        sound = sum(np.sin(k * phase) * np.exp(-(((k * pitch - centre) / 500) ** 2)) for k in range(1, 25))
        sound = sound * (np.sin(2 * np.pi * generator.uniform(1, 4) * times) > -0.5)
        sound = 0.1 * sound + 0.005 * generator.normal(size=len(times))
        place = folder / "ab"[number % 2] / f"{number:05d}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, np.clip(sound, -1, 1), RATE)


def ours(folder: str, kept: str) -> dict[str, Any]:
    """`Extractor` on the folder, into an empty store."""
    from headstart.datasets.read import read
    from headstart.runtime import Extractor
    from headstart.sources.shelf import open_source

    started = time.perf_counter()
    dataset = read(folder).without("target")
    extractor = Extractor(open_source("whisper_tiny_en"), cache=False)
    found = extractor.matrix(dataset)
    seconds = time.perf_counter() - started
    np.save(kept, found[:, : found.shape[1] // 2])
    return {"seconds": seconds, "ran": extractor.description}


def theirs(folder: str, kept: str) -> dict[str, Any]:
    """transformers, as its documentation shows it."""
    import soundfile
    import soxr
    import torch

    from headstart.sources import weights
    from headstart.sources.shelf import open_source
    from headstart.sources.torchvision_compat import heal

    heal()
    import transformers

    source = open_source("whisper_tiny_en")
    config = transformers.WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, decoder_layers=1
    )
    model = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
    model.load_state_dict(weights.state(source.network))
    model.eval()
    extract = transformers.WhisperFeatureExtractor()
    started = time.perf_counter()
    files = sorted(str(path) for path in Path(folder).rglob("*.wav"))
    found = []
    for start in range(0, len(files), 16):
        sounds = [soundfile.read(file, dtype="float32") for file in files[start : start + 16]]
        waves = [soxr.resample(wave, rate, 16000) for wave, rate in sounds]
        inputs = extract(waves, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            hidden = model(inputs["input_features"]).last_hidden_state
        found.append(hidden[:, : round(SECONDS * 50)].mean(dim=1).numpy())
    seconds = time.perf_counter() - started
    np.save(kept, np.concatenate(found))
    return {"seconds": seconds, "ran": "torch fp32, padded to 30 s"}


def apart(side: str, folder: Path, kept: Path, threads: int) -> dict[str, Any]:
    """One side in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--kept", str(kept)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--side")
    parser.add_argument("--folder")
    parser.add_argument("--kept")
    given = parser.parse_args()
    if given.side:
        print(json.dumps({"ours": ours, "theirs": theirs}[given.side](given.folder, given.kept)))
        return
    from headstart.sources import shelf

    shelf.fetch("whisper_tiny_en")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "clips"
        clips(folder, given.clips)
        results, features = {}, {}
        for side in ("theirs", "ours"):
            results[side] = apart(side, folder, Path(place) / f"{side}.npy", given.threads)
            features[side] = np.load(Path(place) / f"{side}.npy")
    for side, result in results.items():
        rate = given.clips / result["seconds"]
        print(f"{side:7} {result['seconds']:7.1f} s  {rate:7.1f} clips/s  {result['ran']}")
    a, b = (values - values.mean(axis=0) for values in (features["ours"], features["theirs"]))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    print(f"agreement {cosines.mean():.3f} (worst {cosines.min():.3f})")
    print(f"ratio   {results['theirs']['seconds'] / results['ours']['seconds']:.1f}x  (bar: 3x)")


if __name__ == "__main__":
    main()
