"""`make locks`: write requirements.lock and deploy/locks, which name each package with its version and its hashes.

Versions stay as they are in requirements.lock. To change one, change or remove its line there, or change
pyproject.toml.
The hashes are those that the package index publishes; pip installs no other file.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from signet.terminal.output import open_console, print_line

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
IMAGES = ROOT / "deploy/locks"

# What the extractor's image needs besides the library's own dependencies. MediaPipe asks for 600 MB more (JAX, SciPy, a
# tokenizer, OpenCV with its windows): converting language models and drawing need it, finding landmarks does not.
OPENCV, HEADLESS = "opencv-contrib-python", "opencv-contrib-python-headless"
MEDIAPIPE_NEEDS = ["attrs", "flatbuffers", "matplotlib", HEADLESS]
ALONE = {"mediapipe": MEDIAPIPE_NEEDS}

# The CPU build of torch, which has an index of its own: Linux on x86_64, Python 3.11.
TORCH_CPU = {"2.13.0": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}

# The libraries of the CUDA build of torch.
CUDA_PREFIXES = ("cuda-", "nvidia-c", "nvidia-n", "triton")

# ONNX Runtime for GPUs. It replaces onnxruntime in one image, with its CUDA libraries, and is nowhere else.
ONNX_GPU = "onnxruntime-gpu"

# Further machines that run all of Signet, or two of the three services (check_platform.py).
MACOS = ["macosx_14_0_arm64"]
ARM = [f"manylinux_2_{glibc}_aarch64" for glibc in range(36, 16, -1)] + ["manylinux2014_aarch64"]

HEADER = "# Written by `make locks`. pip refuses a file whose hash is not listed.\n"


class Package:
    """One package of a report of pip."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.name: str = entry["metadata"]["name"]
        self.version: str = entry["metadata"]["version"]
        self.needs = [Requirement(text) for text in entry["metadata"].get("requires_dist", [])]
        self.hashes = {entry["download_info"]["archive_info"]["hashes"]["sha256"]}

    @property
    def key(self) -> str:
        """The name in its normal form."""
        return canonicalize_name(self.name)

    def lines(self) -> str:
        """The package in a lock file."""
        return " \\\n".join(
            [f"{self.name}=={self.version}", *(f"    --hash=sha256:{one}" for one in sorted(self.hashes))]
        )


Packages = dict[str, Package]


def ask_pip(*arguments: str) -> Packages:
    """What pip would install, by name; from the package index alone, whatever this machine's settings are."""
    settings = {"PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    environment["PIP_CONFIG_FILE"] = os.devnull
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--only-binary=:all:", "--report", str(report), *arguments]
        subprocess.run(command, env=environment, cwd=ROOT, check=True)
        entries = json.loads(report.read_text())["install"]
    packages = (Package(entry) for entry in entries if "archive_info" in entry["download_info"])
    return {package.key: package for package in packages}


def resolve(project: dict[str, Any]) -> Packages:
    """All packages of all extras, for Linux on x86_64, with the versions of the lock where it has one."""
    named = [line.split(" ")[0] for line in LOCK.read_text().splitlines() if "==" in line]
    (opencv,) = [line for line in named if line.startswith(f"{OPENCV}==")]
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text("\n".join(named))
        extras = [one for texts in project["optional-dependencies"].values() for one in texts]
        wanted = [one for one in [*project["dependencies"], *extras] if not one.startswith("signet[")]
        packages = ask_pip("--constraint", str(pins), "setuptools>=77", *wanted)
    return packages | ask_pip("--no-deps", opencv.replace(OPENCV, HEADLESS))


def add_hashes(packages: Packages, names: set[str], platforms: list[str]) -> None:
    """Add the hashes of the files for another machine."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--no-deps", "--python-version", "3.11", "--target", folder]
        flags += [word for platform in platforms for word in ("--platform", platform)]
        pins = (f"{packages[name].name}=={packages[name].version}" for name in sorted(names))
        for name, package in ask_pip(*flags, *pins).items():
            packages[name].hashes |= package.hashes


def needed_by(packages: Packages, requirements: list[str], without: frozenset[str] = frozenset()) -> set[str]:
    """The names of the packages that these requirements lead to on Linux, without those of `without`."""
    found: set[str] = set()
    left = [(Requirement(text), "") for text in requirements]
    while left:
        requirement, extra = left.pop()
        name = canonicalize_name(requirement.name)
        if name in without or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        seen = name in found
        found.add(name)
        if name in ALONE:
            left += [(Requirement(text), "") for text in ALONE[name] if not seen]
            continue
        extras = [*sorted(requirement.extras), *([] if seen else [""])]
        left += [(need, one) for one in extras for need in packages[name].needs]
    return found


def write(path: Path, packages: Packages, names: set[str]) -> None:
    """Write a lock file."""
    path.write_text(HEADER + "".join(f"{packages[name].lines()}\n" for name in sorted(names)))
    print_line(open_console(), f"{path.relative_to(ROOT)}: {len(names)} packages")


def main() -> None:
    """Write all lock files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = resolve(project)
    torch = packages["torch"]
    if torch.version not in TORCH_CPU:
        raise SystemExit(
            f"write the hash of the CPU build of torch {torch.version} into TORCH_CPU of deploy/make_locks.py"
        )
    cuda = frozenset(name for name in packages if name.startswith(CUDA_PREFIXES))
    extras = project["optional-dependencies"]
    common = [*project["dependencies"], *extras["tracing"], "setuptools"]
    images = {
        name: needed_by(packages, [*common, *extras[name]], cuda | ({OPENCV} if name == "extractor" else frozenset()))
        for name in ("extractor", "trainer", "evaluator")
    }
    everything = set(packages) - cuda - {HEADLESS, ONNX_GPU}
    add_hashes(packages, everything, MACOS)
    add_hashes(packages, images["trainer"] | images["evaluator"] | cuda, ARM)
    torch.hashes.add(TORCH_CPU[torch.version])
    write(LOCK, packages, everything)
    for name, names in images.items():
        write(IMAGES / f"{name}.lock", packages, names)
    write(IMAGES / "extractor-gpu.lock", packages, needed_by(packages, extras["extractor-gpu"]) - images["extractor"])
    write(IMAGES / "cuda.lock", packages, set(cuda))


if __name__ == "__main__":
    main()
