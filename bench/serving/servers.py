"""The servers that bench.serve measures, each a process of its own on 127.0.0.1."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

# A server that does not listen by then has failed.
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0

RECOGNIZE = "/signet.v1.Recognizer/Recognize"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
# The name of the model in MLServer.
MLSERVER_MODEL = "sign"
MLSERVER = ("mlserver==1.7.1", "onnxruntime==1.32.0")
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    address: str
    method: str  # the method that is called
    requests: Path  # requests to it, a file of `write_messages`
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """CPU-seconds of the server with its child processes."""
        return float(sum(times.user + times.system for times in (one.cpu_times() for one in self._processes())))

    def megabytes(self) -> float:
        """The memory (RSS) of the server with its child processes."""
        return float(sum(one.memory_info().rss for one in self._processes()) / 1e6)

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def start_evaluator(
    store: str, model: str, requests: Path, log: Path, tree: Path | None = None, flags: tuple[str, ...] = ()
) -> Iterator[Server]:
    """An evaluator of this tree, or of another one that has its own environment in `.venv`."""
    python = str(tree / ".venv/bin/python") if tree else sys.executable
    port = free_port()
    command = [python, "-m", "services.evaluator", "--store", store, "--model-name", model, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(tree or Path.cwd())}
    with _running([*command, "--log-level", "WARNING", *flags], log, environment, tree, port) as process:
        yield Server(f"127.0.0.1:{port}", RECOGNIZE, requests, process)


def install_mlserver(environment: Path) -> None:
    """Make MLServer's environment, if it is not there yet."""
    if not (environment / "bin/mlserver").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(environment / "bin/pip"), "install", "--quiet", *MLSERVER], check=True)


@contextmanager
def start_mlserver(environment: Path, graph: Path, requests: Path, folder: Path, *, batching: bool) -> Iterator[Server]:
    """MLServer with the graph of a model. With `batching`, it joins requests, which must have equal shapes."""
    folder.mkdir()
    shutil.copy(_HERE / "mlserver_model.py", folder)
    shutil.copy(graph, folder / "model.onnx")
    port, others = free_port(), [free_port(), free_port()]
    _write(
        folder / "settings.json",
        {
            "host": "127.0.0.1",
            "grpc_port": port,
            "http_port": others[0],
            "metrics_port": others[1],
            "debug": False,
            # Worker processes make it slower on two cores; with uvloop 0.22 and newer, they do not start.
            "parallel_workers": 0,
        },
    )
    model = {
        "name": MLSERVER_MODEL,
        "implementation": "mlserver_model.OnnxModel",
        "parameters": {"uri": str(folder / "model.onnx")},
    }
    _write(
        folder / "model-settings.json", model | ({"max_batch_size": 32, "max_batch_time": 0.005} if batching else {})
    )
    variables = {**os.environ, "PYTHONPATH": str(folder), "PATH": f"{environment}/bin:{os.environ['PATH']}"}
    command = [str(environment / "bin/mlserver"), "start", str(folder)]
    with _running(command, folder / "log", variables, folder, port) as process:
        yield Server(f"127.0.0.1:{port}", MODEL_INFER, requests, process)


def make_mlserver_requests(environment: Path, inputs: Path, requests: Path) -> None:
    """Write the requests for these inputs, as `mlserver_requests.py` describes them."""
    script = str(_HERE / "mlserver_requests.py")
    subprocess.run([str(environment / "bin/python"), script, MLSERVER_MODEL, str(inputs), str(requests)], check=True)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _running(
    command: list[str], log: Path, environment: Mapping[str, str], folder: Path | None, port: int
) -> Iterator[psutil.Process]:
    """Run a server until the context ends."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output) as started,
    ):
        try:
            _wait_until_listening(started, port, log)
            yield psutil.Process(started.pid)
        finally:
            started.terminate()
            try:
                started.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                started.kill()


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{process.args!r} does not listen:\n{log.read_text()[-2000:]}")


def _write(path: Path, settings: Mapping[str, object]) -> None:
    path.write_text(json.dumps(settings))
