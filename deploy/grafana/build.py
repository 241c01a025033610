"""Writes the JSON files of the dashboards for Grafana: `python -m deploy.grafana.build`."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.extraction import extraction
from deploy.grafana.serving import serving
from deploy.grafana.training import training

FOLDER = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, str]:
    """The JSON of each dashboard, by file name."""
    built = {"training": training(), "extraction": extraction(), "serving": serving()}
    return {
        f"{name}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, board in built.items()
    }


if __name__ == "__main__":
    for file, text in dashboards().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
