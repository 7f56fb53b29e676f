"""The report in a real browser: headless Chromium reads it, complains about nothing, and shows the verdict."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from headstart.report import html

from . import records

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]

MEASURE = """<script>
addEventListener("load", () => parent.postMessage(
  [document.documentElement.scrollWidth, innerWidth].join(" "), "*"));
</script>"""
FRAME = """<iframe src="page.html" style="width:390px;height:800px;border:0"></iframe><p id="size"></p>
<script>addEventListener("message", event => { document.getElementById("size").textContent = event.data; });</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have Chromium on PATH (Debian: apt-get install -y chromium)")
        pytest.skip("no Chromium on PATH")
    return found


def visit(browser: str, page: Path, *flags: str) -> tuple[str, list[str]]:
    """What the browser wrote to stdout, and the lines of its console."""
    profile = page.parent / "profile"
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    shutil.rmtree(profile, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("name", ["positive", "negative", "images", "hostile"])
def test_browser_shows_the_verdict_and_complains_about_nothing(browser: str, tmp_path: Path, name: str) -> None:
    record = records.ALL[name]()
    html.write(record, tmp_path / "report.html")
    dom, console = visit(browser, tmp_path / "report.html", "--dump-dom")
    assert console == []
    assert record.verdict is not None
    assert f'<p class="verdict">{record.verdict.label.capitalize()} transfer</p>' in dom
    assert dom.rstrip().endswith("</html>") and dom.count("<svg") >= 4
    assert "<script" not in dom


def test_policy_stops_what_should_never_be_there(browser: str, tmp_path: Path) -> None:
    """The same page with a script and a remote picture planted: the policy refuses both, and the console says so."""
    planted = '<script>document.title = "ran"</script><img src="http://127.0.0.1:9/x.png"></main>'
    page = tmp_path / "report.html"
    page.write_text(html.render(records.positive()).replace("</main>", planted), encoding="utf-8")
    dom, console = visit(browser, page, "--dump-dom")
    assert "<title>ran" not in dom
    assert sum("Content Security Policy" in line for line in console) == 2


@pytest.mark.parametrize("name", ["positive", "hostile", "thirty classes"])
def test_page_fits_a_phone(browser: str, tmp_path: Path, name: str) -> None:
    """No sideways scrolling of the page at 390 px; wide tables and figures scroll inside their own boxes."""
    source = re.sub(r"<meta http-equiv[^>]*>", "", html.render(records.ALL[name]()))
    (tmp_path / "page.html").write_bytes(source.replace("</body>", f"{MEASURE}</body>").encode("utf-8", "replace"))
    (tmp_path / "frame.html").write_text(FRAME)
    dom, _ = visit(browser, tmp_path / "frame.html", "--dump-dom", "--virtual-time-budget=3000")
    size = re.search(r'<p id="size">(\d+) (\d+)</p>', dom)
    assert size is not None, dom
    assert size.groups() == ("390", "390")


def test_dark_and_light_pages_look_different(browser: str, tmp_path: Path) -> None:
    html.write(records.positive(), tmp_path / "report.html")
    brightness = []
    for scheme in (1, 0):  # Blink's numbers: light, dark
        picture = tmp_path / f"{scheme}.png"
        visit(
            browser,
            tmp_path / "report.html",
            f"--screenshot={picture}",
            "--window-size=900,900",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        with Image.open(picture) as image:
            grey = image.convert("L")
            brightness.append(sum(i * n for i, n in enumerate(grey.histogram())) / (grey.width * grey.height))
    assert brightness[0] > 200 and brightness[1] < 80, brightness
