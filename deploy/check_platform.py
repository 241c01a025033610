"""Says in one line whether Signet's packages exist for this machine, before pip looks for them.

`make` runs it with the Python that it found, so it imports only the standard library.
"""

import os
import platform
import struct
import sys
from dataclasses import dataclass

# The last MediaPipe with its models in the wheel. It decides what Signet runs on.
MEDIAPIPE, TORCH = "mediapipe 0.10.21", "torch 2.13.0"
OLDEST_GLIBC = (2, 28)


@dataclass(frozen=True)
class Machine:
    """What decides which wheels pip can install."""

    system: str  # as `platform.system()` names it: Linux, Darwin, Windows
    processor: str  # as `platform.machine()` names it: x86_64, aarch64, arm64, AMD64
    glibc: str  # "2.36"; "" on musl (Alpine), and on other systems than Linux
    bits: int = 64  # of the Python interpreter


def find_machine() -> Machine:
    """The machine that this program runs on."""
    try:
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    except (AttributeError, OSError, ValueError):  # other systems than Linux, and musl
        glibc = ""
    return Machine(platform.system(), platform.machine(), glibc, 8 * struct.calcsize("P"))


def find_obstacle(machine: Machine) -> str:
    """Why Signet cannot be installed on a machine, and what can be done; "" if it can be installed."""
    arm = machine.processor.lower() in {"aarch64", "arm64"}
    linux = machine.system == "Linux"
    name = f"{machine.system} on {machine.processor}"
    alone = "The trainer and the evaluator can be installed alone: pip install '.[trainer,evaluator]'."
    obstacles = {
        "This Python has 32 bits, and Signet's packages need 64. Install a 64-bit Python.": machine.bits != 64,
        f"{MEDIAPIPE} and torch have no build for musl (Alpine). Use a distribution with glibc.": (
            linux and not machine.glibc
        ),
        f"{MEDIAPIPE}, which the extractor needs, has no build for {name}. {alone}": linux and arm,
        f"{MEDIAPIPE} needs glibc 2.28 or newer, and this is {machine.glibc}. Use Debian 12.": (
            linux and _version(machine.glibc) < OLDEST_GLIBC
        ),
        f"{MEDIAPIPE} and torch have no build for {name}.": linux and machine.processor != "x86_64",
        f"{MEDIAPIPE}, which the extractor needs, has no build for {name}.": machine.system == "Windows" and arm,
        f"{TORCH}, which the trainer needs, has no build for {name}.": machine.system == "Darwin" and not arm,
    }
    found = next((obstacle for obstacle, here in obstacles.items() if here), "")
    return f"{found} README.md says what runs where." if found else ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


if __name__ == "__main__":
    sys.exit(find_obstacle(find_machine()) or 0)
