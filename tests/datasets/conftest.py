from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "headstart-home"
    monkeypatch.setenv("HEADSTART_HOME", str(place))
    return place
