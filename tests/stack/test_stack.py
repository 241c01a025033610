"""The composed stack on a real engine, in the order of its life: built, up, at work, restarted, killed, down."""

import json
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from deploy.grafana.queries import queries
from signet import landmarks
from signet.datasets.corpus import read_manifest
from signet.rpc.client import Client
from signet.v1 import evaluator_pb2 as pb
from tests.conftest import ROOT
from tests.stack.conftest import PROJECT
from tests.stack.stack import CONTAINERS, SERVICES, Stack, docker, published, stored_clips, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.clips, pytest.mark.timeout(1800)]

GPU, CPU, SEAWEEDFS = "docker-compose.yml", "deploy/compose.cpu.yaml", "deploy/compose.seaweedfs.yaml"

# Uncompressed; the trainer's with torch's CPU build.
LARGEST_MEGABYTES = {"evaluator": 450, "extractor": 1200, "trainer": 1500}

UP_SECONDS, DOWN_SECONDS = 30, 12

SEED, RANDOM_KILLS, LONGEST_PEACE_SECONDS = 0, 6, 10
# A training of 60 epochs on a dozen clips, its export, and the extraction before it.
RUN_SECONDS = 240


@pytest.mark.parametrize("files", [(GPU,), (GPU, CPU), (GPU, SEAWEEDFS), (GPU, CPU, SEAWEEDFS)])
def test_every_documented_combination_of_files_is_whole(stack: Stack, files: tuple[str, ...]) -> None:
    assert stack.compose("config", "--quiet", files=files) == ""
    config = json.loads(stack.compose("config", "--format", "json", files=files))
    devices = config["services"]["trainer"].get("deploy", {}).get("resources", {}).get("reservations", {})
    assert bool(devices) == (CPU not in files)
    published_ports = {
        (name, port["host_ip"], port["target"])
        for name, service in config["services"].items()
        for port in service.get("ports", [])
    }
    assert published_ports == {
        ("evaluator", "127.0.0.1", 50053),
        ("grafana", "127.0.0.1", 3000),
        ("minio", "127.0.0.1", 9001),
    }


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_small_and_holds_only_what_it_needs(stack: Stack, service: str) -> None:
    (image,) = json.loads(docker("image", "inspect", f"signet-{service}"))
    megabytes = image["Size"] / 1e6
    print(f"\nsignet-{service}: {megabytes:.0f} MB")
    program = (
        "import importlib.util, json, shutil; "
        "print(json.dumps([[m for m in ('torch', 'mediapipe', 'jax', 'onnxruntime') if importlib.util.find_spec(m)], "
        "[t for t in ('gcc', 'cc', 'make') if shutil.which(t)], "
        "[m for m in ('extractor', 'trainer', 'evaluator') if importlib.util.find_spec(f'services.{m}')]]))"
    )
    said = docker("run", "--rm", "--entrypoint", "python", f"signet-{service}", "-c", program)
    packages, tools, services = json.loads(said)
    assert (
        packages
        == {
            "extractor": ["mediapipe", "onnxruntime"],
            "trainer": ["torch", "onnxruntime"],
            "evaluator": ["onnxruntime"],
        }[service]
    )
    assert tools == []
    assert services == [service]
    assert image["Config"]["User"] == "10001"
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == f"signet-{service}"
    assert len(labels["org.opencontainers.image.revision"]) == 40
    cuda = docker(
        "run", "--rm", "--entrypoint", "sh", f"signet-{service}", "-c", "ls /opt/signet/lib/python3.11/site-packages"
    )
    if "nvidia" not in cuda.split():  # CUDA's libraries are not counted
        assert megabytes <= LARGEST_MEGABYTES[service]


def test_the_command_line_is_in_every_image(stack: Stack) -> None:
    for service, command in (("extractor", "extract"), ("trainer", "train"), ("evaluator", "predict")):
        assert f"signet {command}" in docker(
            "run", "--rm", "--entrypoint", "signet", f"signet-{service}", command, "--help"
        )


def test_a_gpu_reservation_reaches_the_trainer(stack: Stack, gpu_hook: bool) -> None:
    """As `docker compose up` makes it, in a project of its own."""
    alone = stack.sibling(f"{PROJECT}-gpu")
    try:
        if gpu_hook:
            alone.compose("up", "--detach", "--no-deps", "--no-build", "trainer", files=(GPU,))
        else:
            alone.compose(
                "create", "--no-build", "--pull", "never", "trainer", files=(GPU, SEAWEEDFS, "tests/stack/compose.yaml")
            )
        (request,) = alone.states()["trainer"]["HostConfig"]["DeviceRequests"]
        assert (request["Driver"], request["Count"], request["Capabilities"]) == ("nvidia", -1, [["gpu"]])
    finally:
        alone.down("--volumes", "--timeout", "0")


@pytest.fixture(scope="module")
def reference(stack: Stack, video: bytes) -> Iterator[dict[str, bytes]]:
    """The stack, up and undisturbed until it serves a model; the landmarks that it extracted, by key."""
    seconds = stack.up()
    print(f"\nup and healthy in {seconds:.1f} s")
    assert seconds <= UP_SECONDS
    started = time.monotonic()
    wait_for(lambda: stack.serves(video), RUN_SECONDS, "a model is served", stack.explain)
    print(f"extracted, trained and served in {time.monotonic() - started:.0f} s")
    store = stack.store()
    yield {key: store.get(key) for key in stored_clips(store)}


def test_clips_become_a_served_model_without_a_request(
    stack: Stack, reference: dict[str, bytes], clips: Path, video: bytes
) -> None:
    states = stack.states()
    assert {name for name, one in states.items() if one["State"]["Running"]} == set(CONTAINERS)
    assert {name: states[name]["State"]["ExitCode"] for name in ("credentials", "bucket")} == {
        "credentials": 0,
        "bucket": 0,
    }
    for name in SERVICES:
        assert states[name]["State"]["Health"]["Status"] == "healthy"
    manifest = read_manifest(stack.store(), "wlasl")
    assert manifest is not None
    assert set(manifest.clips) == {path.stem for path in (clips / "clips").glob("[0-9]*.mp4")}
    assert all(landmarks.load(data, key).frames > 1 for key, data in reference.items())
    answer = stack.recognise(video)
    assert answer.model_version == published(stack.store())
    assert 0 < answer.predictions[0].probability <= 1
    shown = stack.exec("evaluator", "signet", "models")
    assert answer.model_version in shown
    assert "succeeded" in stack.exec("trainer", "signet", "runs")

    def reported() -> bool:
        with Client(evaluator=f"127.0.0.1:{stack.ports.recognizer}") as client:
            return bool(client.evaluation.ListReports(pb.ListReportsRequest(), timeout=10).reports)

    wait_for(reported, 30, "the served version is measured", stack.explain)


def test_no_running_container_can_do_more_than_it_needs(stack: Stack, reference: dict[str, bytes]) -> None:
    """As the engine sees them, the two steps of the preparation included."""
    states = stack.states()
    assert set(states) == {*CONTAINERS, "credentials", "bucket"}
    for name, state in states.items():
        host = state["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert [one.removeprefix("CAP_") for one in host["CapAdd"] or []] == (
            ["CHOWN", "DAC_OVERRIDE"] if name == "credentials" else []
        ), name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Init"], name
        assert not host["Privileged"], name
        assert 2**29 <= host["Memory"] <= 2**35, name
        assert 0 < host["PidsLimit"] <= 16384, name
        assert (state["Config"]["User"] == "0:0") == (name == "credentials"), name
        assert all("noexec" in options for options in (host.get("Tmpfs") or {}).values()), name
    for name in CONTAINERS:
        program = (
            "touch /x || touch /usr/x || touch /credentials/x || { cp /bin/true /tmp/x && /tmp/x; }; cat /proc/1/status"
        )
        status = stack.exec(name, "sh", "-c", program)
        rights = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        assert rights["Uid"].split()[0] != "0", name
        assert {int(rights[field], 16) for field in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {0}, name
        assert rights["NoNewPrivs"].strip() == "1", name
        left = stack.exec(
            name, "sh", "-c", "ls /x /usr/x /credentials/x 2>/dev/null; /tmp/x && echo runs; rm -f /tmp/x"
        ).split()
        assert left == [], name


def test_prometheus_reaches_everything_and_every_panel_has_data(
    stack: Stack, reference: dict[str, bytes], video: bytes
) -> None:
    def all_up() -> bool:
        up = {one["metric"]["job"]: one["value"][1] for one in stack.query("up")}
        return up == dict.fromkeys((*SERVICES, "store", "prometheus"), "1")

    wait_for(all_up, 60, "every target is up", lambda: str(stack.query("up")))
    deadline = time.monotonic() + 120
    missing = {
        f"{one.dashboard}: {one.panel} ({one.ref}): {one.expression}": one
        for one in queries(ROOT / "deploy/grafana/dashboards")
    }
    assert len(missing) > 30
    count = len(missing)
    while missing and time.monotonic() < deadline:
        stack.recognise(video)
        stack.stream(reference.values())
        time.sleep(2)
        missing = {name: one for name, one in missing.items() if not stack.query(one.in_view)}
    assert not missing, "\n".join(missing)
    print(f"\nall {count} panel queries return data")
    temperatures = stack.query("signet_gpu_temperature_celsius")
    assert len(temperatures) == 2, "of the stand-in's two GPUs"


def test_a_container_that_is_restarted_goes_on(stack: Stack, reference: dict[str, bytes], video: bytes) -> None:
    before = stored_clips(stack.store())
    version = published(stack.store())
    for name in CONTAINERS:
        stack.compose("restart", name)
        stack.up()
        wait_for(lambda: stack.serves(video), 60, f"served again after {name} was restarted", stack.explain)
    assert stored_clips(stack.store()) == before
    assert published(stack.store()) == version
    assert stack.log("trainer").count("is new: run") == 1, "nothing new, so nothing is trained again"


def test_the_stores_console_asks_who_is_there(stack: Stack, reference: dict[str, bytes]) -> None:
    request = Request(
        f"http://127.0.0.1:{stack.ports.console}/api/users",
        data=json.dumps({"username": "me", "email": "", "actions": ["Admin"], "generate_key": True}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=30) as answer:
            said = answer.read().decode()
            assert "/login" in answer.url, said[:500]
    except HTTPError as error:
        assert error.code in {401, 403}


def test_down_is_quick_and_everybody_drained(stack: Stack, reference: dict[str, bytes]) -> None:
    """A stop is what `down` does first; stopped containers can still be asked how they ended."""
    started = time.monotonic()
    stack.compose("stop")
    stopped = time.monotonic() - started
    states = stack.states()
    codes = {name: states[name]["State"]["ExitCode"] for name in SERVICES}
    assert codes == dict.fromkeys(SERVICES, 0), stack.explain()
    assert {name: one["RestartCount"] for name, one in states.items()} == dict.fromkeys(states, 0)
    stack.up()
    seconds = stack.down()
    print(f"\nstop took {stopped:.1f} s, down {seconds:.1f} s")
    assert seconds <= DOWN_SECONDS


def test_data_survive_down_and_a_restore_brings_back_what_was_saved(
    stack: Stack, reference: dict[str, bytes], ground: Path, video: bytes
) -> None:
    """By the commands of the operating guide."""
    stack.up()
    version = published(stack.store())
    stack.compose("stop")
    saved = ground / "backup"
    saved.mkdir()
    volume = f"{PROJECT}_store"
    tar = ["run", "--rm", "--user", "0:0", "--network", "none", "--entrypoint", "tar", "-v"]
    docker(
        *tar,
        f"{volume}:/data:ro",
        "-v",
        f"{saved}:/backup",
        "signet-evaluator",
        "-C",
        "/data",
        "-cf",
        "/backup/store.tar",
        ".",
    )
    stack.down("--volumes")
    stack.compose("up", "--no-start", "--no-build")
    docker(
        *tar,
        f"{volume}:/data",
        "-v",
        f"{saved}:/backup:ro",
        "signet-evaluator",
        "-C",
        "/data",
        "-xf",
        "/backup/store.tar",
    )
    stack.up()
    wait_for(lambda: stack.serves(video), 60, "the restored model is served", stack.explain)
    store = stack.store()
    assert {key: store.get(key) for key in stored_clips(store)} == reference
    assert stack.recognise(video).model_version == version
    wait_for(lambda: "was trained on already" in stack.log("trainer"), 30, "the trainer looks", stack.explain)
    assert "is new: run" not in stack.log("trainer"), "the very model, not one that was trained again"


def stop_at_work(stack: Stack) -> None:
    """Stop everything in the middle of whatever it does, and start it again."""
    started = time.monotonic()
    stack.compose("stop")
    seconds = time.monotonic() - started
    print(f"stopped at work in {seconds:.1f} s")
    assert seconds <= DOWN_SECONDS
    states = stack.states()
    assert {name: states[name]["State"]["ExitCode"] for name in SERVICES} == dict.fromkeys(SERVICES, 0), stack.explain()
    stack.up()


def test_any_container_may_be_killed_at_any_point(stack: Stack, reference: dict[str, bytes], video: bytes) -> None:
    """From an empty store again; each of them dies once while clips are extracted or a model is trained."""
    stack.down("--volumes")
    stack.up()

    def die(name: str) -> None:
        before = stored_clips(stack.store()) if name != "minio" else {}
        stack.kill(name)
        stack.up()
        print(f"killed {name} with {len(before)} clips stored")
        after = stored_clips(stack.store())
        assert before.items() <= after.items(), "what is stored stays as it is"

    def stored(count: int) -> None:
        wait_for(lambda: len(stored_clips(stack.store())) >= count, RUN_SECONDS, f"{count} clips", stack.explain)

    def training(count: int) -> None:
        # A run that was interrupted goes on, if it had come so far as to choose its clips.
        begun = lambda: len(re.findall("is new: run|is resumed", stack.log("trainer"))) >= count  # noqa: E731
        wait_for(begun, RUN_SECONDS, f"training {count}", stack.explain)

    stored(1)
    stop_at_work(stack)
    stored(3)
    die("minio")
    stored(6)
    die("extractor")
    training(1)
    die("trainer")
    training(2)
    stop_at_work(stack)
    training(3)
    die("minio")
    die("evaluator")
    die("prometheus")
    wait_for(lambda: stack.serves(video), RUN_SECONDS, "a model is served", stack.explain)
    store = stack.store()
    assert {key: store.get(key) for key in stored_clips(store)} == reference, "bit-identical landmarks"
    ends = re.findall(r"succeeded: (\d+) extracted, (\d+) present", stack.log("extractor"))
    extracted, present = map(int, ends[0])
    assert present >= 6, "what was stored before the last kill was not extracted again"
    assert extracted + present == len(reference)
    assert sum(int(again) for again, _ in ends[1:]) == 0


def test_kills_at_random_moments_change_nothing(stack: Stack, reference: dict[str, bytes], video: bytes) -> None:
    stack.down("--volumes")
    stack.up()
    dice = random.Random(SEED)  # noqa: S311
    for _ in range(RANDOM_KILLS):
        seconds, name = dice.uniform(0, LONGEST_PEACE_SECONDS), dice.choice(CONTAINERS)
        time.sleep(seconds)
        stack.kill(name)
        stack.up()
        print(f"killed {name} after {seconds:.1f} s")
    wait_for(lambda: stack.serves(video), RUN_SECONDS, "a model is served", stack.explain)
    store = stack.store()
    assert {key: store.get(key) for key in stored_clips(store)} == reference


def test_many_callers_at_once_are_served(stack: Stack, reference: dict[str, bytes], video: bytes) -> None:
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: stack.recognise(video, timeout=120), range(16)))
    assert len({answer.predictions[0].gloss for answer in answers}) == 1
