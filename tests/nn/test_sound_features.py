"""Log-mel and MFCC statistics: shape, meaning, saving."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct

from headstart.nn.sound_features import BANDS, COEFFICIENTS, WIDTH, SoundFeatures, _cosines, describe
from tests.conformance.examples import sounds


def test_the_cepstrum_is_the_orthonormal_transform():
    levels = np.random.default_rng(0).normal(size=(BANDS, 3)).astype(np.float32)
    expected = dct(levels, type=2, norm="ortho", axis=0)[:COEFFICIENTS]
    assert np.allclose(_cosines().numpy() @ levels, expected, atol=1e-5)


def test_a_tone_is_loudest_in_its_band():
    times = np.arange(16000) / 16000
    low, high = (describe(np.sin(2 * np.pi * hertz * times).astype(np.float32)) for hertz in (300, 3000))
    assert low[:BANDS].argmax() < high[:BANDS].argmax()
    assert low.shape == (WIDTH,) and low[-1] == pytest.approx(np.log(16000))


def test_columns_are_standardised_by_the_training_rows():
    rows = sounds(24)
    features, X = SoundFeatures.fit_transform(rows)
    assert X.shape == (24, features.width) and X.dtype == np.float32
    assert np.abs(X.mean(axis=0)).max() < 1e-4
    assert np.array_equal(features.transform(rows), X)
    back = SoundFeatures.restore(*features.state())
    assert np.array_equal(back.transform(rows.select([3, 4])), X[3:5])


def test_a_sound_of_one_sample_has_features():
    assert np.isfinite(describe(np.ones(1, np.float32))).all()


def test_misshapen_arrays_are_refused():
    with pytest.raises(ValueError, match="misshapen"):
        SoundFeatures(np.zeros(3), np.ones(3))
