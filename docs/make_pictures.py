"""Makes the README's pictures from a real run: `make pictures`, or `python -m docs.make_pictures [RUN]`.

It needs a store with a trained run (SIGNET_STORE, default data/store) and Chromium. Without RUN it shows the newest.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from services.trainer.runs.listing import find_latest_run
from signet.store import StoreSettings, open_store

FOLDER = Path(__file__).parent / "pictures"

# Pixels of the browser window, and the width of a picture.
WINDOW = (940, 900)
WIDTH = 640
# Colours of a picture. The pages use few colours, so the files stay small.
COLOURS = 96


def _signet(*arguments: str) -> None:
    """Run a `signet` command. Its errors are shown on the terminal."""
    subprocess.run([sys.executable, "-m", "services.cli", *arguments], check=True, stdout=subprocess.DEVNULL)


def _photograph(page: Path, name: str, folder: Path) -> None:
    """Render an HTML page, and save the top of it as a small PNG."""
    screenshot = folder / f"{name}.png"
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'chromium'}", f"--window-size={WINDOW[0]},{WINDOW[1]}",
            f"--screenshot={screenshot}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    with Image.open(screenshot) as picture:
        height = round(WIDTH * picture.height / picture.width)
        small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


def main() -> None:
    """Make the three pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", help="the run to show; default: the newest")
    parser.add_argument("--clip", default="12315", help="the clip to show as the model sees it")
    arguments = parser.parse_args()
    run = arguments.run or find_latest_run(open_store(StoreSettings()))
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _signet("analyze", run, "--out", str(folder / "analysis"))
        _signet("features", arguments.clip, "--model", "signet", "--out", str(folder / "features.html"))
        _signet("evaluate", "--run", run, "--html", str(folder / "report.html"))
        _photograph(folder / "analysis" / "analysis.html", "analysis", folder)
        _photograph(folder / "features.html", "features", folder)
        _photograph(folder / "report.html", "report", folder)


if __name__ == "__main__":
    main()
