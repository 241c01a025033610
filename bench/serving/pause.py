"""Pauses a long bench while a file exists, so that other measurements can have the cores."""

import argparse
import asyncio
from pathlib import Path

_LOOK_SECONDS = 1.0


def add_pause_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--pause-file`."""
    parser.add_argument("--pause-file", type=Path, metavar="FILE", help="begin no call while this file exists")


async def wait_while_paused(file: Path | None) -> None:
    """Wait as long as the file exists. Connections stay alive meanwhile."""
    while file is not None and file.exists():
        await asyncio.sleep(_LOOK_SECONDS)
