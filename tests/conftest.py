"""What tests share: the real clips, a real S3 server, both kinds of store, and landmarks made by hand."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from minio import Minio

from services.cli import app
from services.local.seaweedfs import LocalStore
from signet.landmarks import JOINTS, PARTS, POSE_JOINTS, ClipRecord, Landmarks
from signet.store import DirectoryStore, ObjectStore
from signet.store.s3 import S3Store
from signet.terminal.command import run_command

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def wlasl() -> Path:
    """The directory with WLASL_v0.3.json and clips/."""
    given = os.environ.get("WLASL", "")
    for folder in [Path(given)] if given else [ROOT.parent / "shared/wlasl", ROOT / "data/wlasl"]:
        if (folder / "WLASL_v0.3.json").is_file() and any((folder / "clips").glob("*.mp4")):
            return folder.absolute()
    pytest.skip("no WLASL clips here: set WLASL=<directory with WLASL_v0.3.json and clips/>")


@pytest.fixture(scope="session")
def faults(wlasl: Path) -> Path:
    """The folder of faulty inputs. It is in the same directory as the folder of the clips."""
    folder = wlasl.parent / "faults"
    if not folder.is_dir():
        pytest.skip(f"{folder}: this folder of faulty inputs does not exist here")
    return folder


@pytest.fixture(scope="session")
def pose_samples(wlasl: Path) -> list[Path]:
    """Real .pose files of others. Their folders are in the same directory as the folder of the clips."""
    files = [file for name in ("imports/pose", "continuous") for file in sorted((wlasl.parent / name).glob("*.pose"))]
    if not files:
        pytest.skip(f"{wlasl.parent}: no folders imports and continuous with .pose files here")
    return files


@pytest.fixture(scope="session")
def imports(wlasl: Path) -> Path:
    """The folder of landmark files that others made. It is in the same directory as the folder of the clips."""
    folder = wlasl.parent / "imports"
    if not folder.is_dir():
        pytest.skip(f"{folder}: this folder of landmark files does not exist here")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the tests start keeps its copies here, and not among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _no_own_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands use neither the signs that the user of this machine has enrolled nor those of another test."""
    monkeypatch.setenv("SIGNET_OWN_SIGNS", str(tmp_path / "own signs"))


@pytest.fixture(scope="session", autouse=True)
def _no_bundled_model() -> Iterator[None]:
    """An evaluator with an empty store serves nothing here, except in the tests that are about the bundled model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNET_BUNDLED_MODEL", "false")
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """A SeaweedFS server for the whole session."""
    with LocalStore(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def new_bucket(s3_server: LocalStore, request: pytest.FixtureRequest) -> Iterator[Callable[..., S3Store]]:
    """Opens an S3 store in this test's own bucket; `secret` replaces the right one.

    The bucket is deleted after the test: each has volumes of its own, and the server has room for some dozens.
    """
    count = abs(hash(request.node.nodeid)) % 10**12
    environment = s3_server.environment
    client = Minio(
        environment["SIGNET_STORE"].split("/")[2],
        environment["SIGNET_S3_ACCESS_KEY"],
        environment["SIGNET_S3_SECRET_KEY"],
        secure=False,
    )

    def connect(secret: str = "") -> S3Store:
        return S3Store(
            environment["SIGNET_STORE"].split("/")[2],
            f"test-{count}",
            environment["SIGNET_S3_ACCESS_KEY"],
            secret or environment["SIGNET_S3_SECRET_KEY"],
            secure=False,
        )

    yield connect
    if client.bucket_exists(f"test-{count}"):
        for found in client.list_objects(f"test-{count}", recursive=True):
            client.remove_object(f"test-{count}", str(found.object_name))
        client.remove_bucket(f"test-{count}")


@pytest.fixture(params=["directory", "s3"])
def object_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store, once as a directory and once as an S3 bucket."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    connect: Callable[..., S3Store] = request.getfixturevalue("new_bucket")
    return connect()


@pytest.fixture
def directory_store(tmp_path: Path) -> DirectoryStore:
    """An empty directory store, for tests that are not about stores."""
    (tmp_path / "store").mkdir()
    return DirectoryStore(tmp_path / "store")


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run. One that ended and was not yet reaped by init has ended."""
    running = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
        except psutil.NoSuchProcess:
            continue
    return running


MakeClip = Callable[..., Landmarks]


@pytest.fixture
def make_clip() -> MakeClip:
    """Makes a clip whose joints are a straight line in time; `presence` and `timestamps` can be given."""

    def make(
        clip_id: str = "c1",
        gloss: str = "book",
        split: str = "train",
        *,
        frames: int = 30,
        fps: float = 30.0,
        presence: object = None,
        timestamps: object = None,
        signer: str = "1",
        source_sha256: str = "",
        slope: float = 0.25,
    ) -> Landmarks:
        times = np.asarray(np.arange(frames) / fps if timestamps is None else timestamps, np.float32)
        found = np.ones((len(times), len(PARTS)), np.uint8) if presence is None else np.asarray(presence, np.uint8)
        joints = np.broadcast_to((slope * times)[:, None, None], (len(times), JOINTS, 3)).astype(np.float16)
        visibility = np.ones((len(times), POSE_JOINTS), np.float16)
        for index, where in enumerate(PARTS.values()):
            joints[found[:, index] == 0, where] = np.nan
        visibility[found[:, 0] == 0] = np.nan
        record = ClipRecord(
            clip_id=clip_id,
            corpus="wlasl",
            gloss=gloss,
            split=split,
            signer=signer,
            fps=fps,
            width=640,
            height=480,
            source_sha256=source_sha256,
            frame_end=len(times),
            extractor="test",
        )
        return Landmarks(joints, found, visibility, times, record)

    return make


RunSignet = Callable[[list[str]], tuple[int, str, str]]


@pytest.fixture
def run_signet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[RunSignet]:
    """Runs a command in an empty directory, and returns its exit status, its output and its error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNET_STORE", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("COLUMNS", "200")

    def run(arguments: list[str]) -> tuple[int, str, str]:
        status = run_command(lambda: app(arguments, prog_name="signet", standalone_mode=False))
        return (status, *capsys.readouterr())

    handler = signal.getsignal(signal.SIGTERM)  # `signet up` and `signet demo` set another one
    yield run
    signal.signal(signal.SIGTERM, handler)
