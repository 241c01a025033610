"""Attacks real services, and measures what legitimate calls and the memory of the services do meanwhile.

    python -m bench.attacks [NAMES] [--seconds S] [--wlasl DIR] [--list]

A model is trained on synthetic landmarks; evaluator, extractor and trainer serve it from a folder that is deleted
afterwards, on 127.0.0.1. Each attack runs for some seconds in a process of its own with the lowest priority, because a
real attacker has another machine. Legitimate calls are measured before the attack and beside it. Bars, for each attack:

- The attack is refused or answered: no service ends, and no call gets INTERNAL or UNKNOWN.
- All legitimate calls are answered. Their median and 95th percentile are at most twice those before the attack.
- The evaluator takes at most 600 MB, the extractor 400 MB, the trainer 600 MB, and each of their child processes 1 GB.
- At most 20 s later all services report SERVING, and have their memory, threads, descriptors and workers of before.

The attack another-user is that of the user nobody on the store of `signet up`: nothing of it may be readable or
writable. It needs the rights of root, to become that user, and is left out without them.

The exit status is 1 if a bar is missed. The figures are saved in bench/results/attacks.json.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.hostile import clips, messages, nobody, objects, wire
from bench.hostile.attacker import UNEXPECTED, Attack, Attacker
from bench.hostile.meter import CallTimes, LegitimateCalls, MemorySampler, ProcessState, state_of_services
from bench.hostile.system import AttackedSystem, Target
from bench.record import load_results, origin, save_results
from signet.rpc.health import is_serving
from signet.terminal.command import run_command
from signet.terminal.output import Console, TableColumn, TextTable, open_console, print_line, print_table

RESULTS = Path("bench/results/attacks.json")
ATTACKS: dict[str, Attack] = {**messages.ATTACKS, **wire.ATTACKS, **clips.ATTACKS, **objects.ATTACKS}
_ANOTHER_USER = "another-user"

# The most memory in MB.
MAX_MB = {"evaluator": 600, "extractor": 400, "trainer": 600}
MAX_CHILD_MB = 1000
MAX_SLOWDOWN = 2.0
# Times differ by this without a reason on a machine with few cores, which the attacker, the services and the measured
# client share: a time slice of the Linux scheduler is 3 to 24 ms.
_NOISE_MS = 25.0

# What a service may keep after an attack: memory of the allocator, threads and connections that close late.
MAX_KEPT_MB, MAX_KEPT_THREADS, MAX_KEPT_DESCRIPTORS = 100, 8, 16
_SETTLE_SECONDS = 20.0
_BASELINE_SECONDS = 40.0
# An attack has ended so long after its time, or it is ended. Its last calls have a deadline of 15 s.
_END_SECONDS = 60.0
_HEALTH_SECONDS = 3.0
_LOWEST_PRIORITY = 19
# The most characters of what another user got in the table.
_SHOWN = 500


def _attack_process(name: str, target: Target, seconds: float, answer: "Connection[Any, Any]") -> None:
    os.nice(_LOWEST_PRIORITY)
    attacker = Attacker(target, seconds)
    thread = threading.Thread(target=ATTACKS[name].run, args=(attacker,), daemon=True)
    thread.start()
    thread.join(seconds + _END_SECONDS)
    if thread.is_alive():
        attacker.count("unfinished")
    answer.send(dict(attacker.statuses))


def _run_attack(name: str, target: Target, seconds: float) -> dict[str, int]:
    """Run an attack in its process; the statuses that it got."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_attack_process, args=(name, target, seconds, sender), daemon=True)
    process.start()
    sender.close()
    try:
        statuses: dict[str, int] = receiver.recv()
    except EOFError:
        statuses = {}
    process.kill()
    process.join()
    return statuses or {"attacker failed": 1}


def measure(system: AttackedSystem, name: str, seconds: float | None = None) -> dict[str, Any]:
    """Run one attack; its figures, with what it missed."""
    attack = ATTACKS[name]
    system.start(attack.services)
    target = system.target()
    with LegitimateCalls(target, attack.legitimate) as alone:
        alone.wait_until_enough(_BASELINE_SECONDS)
    before = state_of_services(system)
    logs = {service: len(system.log(service)) for service in system.pids}
    sampler = MemorySampler(system.pids)
    sampler.start()
    began = time.monotonic()
    with LegitimateCalls(target, attack.legitimate) as beside:
        statuses = _run_attack(name, target, seconds or attack.seconds)
    took = time.monotonic() - began
    sampler.stop()
    misses = find_missed_statuses(statuses) + find_missed_memory(sampler.peaks)
    for kind in attack.legitimate:
        misses += find_missed_times(kind, alone.times[kind], beside.times[kind])
    unsettled = settle(system, before)
    misses += unsettled
    misses += attack.check(system) if attack.check else []
    row = {
        "seconds": round(took, 1),
        "statuses": statuses,
        "calls": {kind: _times(alone.times[kind], beside.times[kind]) for kind in attack.legitimate},
        "peak_mb": dict(sampler.peaks),
        "peak_threads": dict(sampler.threads),
        "peak_descriptors": dict(sampler.descriptors),
        "log_kb": {name: round((len(system.log(name)) - size) / 1000) for name, size in logs.items()},
        "missed": misses,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    # The next attack must not be charged with what this one left.
    system.stop([*attack.stopped, *(system.pids if unsettled else ())])
    return row


def measure_another_user() -> dict[str, Any] | None:
    """What the user nobody gets from the local store; None without the rights of root."""
    got = nobody.attack_local_store()
    if got is None:
        return None
    missed = [f"{way}: {json.dumps(found)[:_SHOWN]}" for way, found in got.items() if found]
    return {"statuses": {way: len(found) for way, found in got.items()}, "calls": {}, "peak_mb": {}, "missed": missed}


def find_missed_statuses(statuses: Mapping[str, int]) -> list[str]:
    """Statuses that say that a service did not understand what happened."""
    unexpected = {*UNEXPECTED, "unfinished", "attacker failed"}
    return [f"the attack got {count} x {status}" for status, count in statuses.items() if status in unexpected]


def find_missed_memory(peaks: Mapping[str, int]) -> list[str]:
    """Processes that took too much; `peaks` is in MB."""
    return [f"{name} took {peak} MB" for name, peak in sorted(peaks.items()) if peak > MAX_MB.get(name, MAX_CHILD_MB)]


def find_missed_times(kind: str, alone: CallTimes, beside: CallTimes) -> list[str]:
    """Legitimate calls that failed, or took too long."""
    missed = [f"{count} x {kind} failed with {status}" for status, count in beside.failed.items()]
    if not beside.seconds:
        return [*missed, f"no {kind} was answered beside the attack"]
    for share in (50, 95):
        usual, slower = alone.percentile(share), beside.percentile(share)
        if slower > max(MAX_SLOWDOWN * usual, usual + _NOISE_MS):
            missed.append(f"p{share} of {kind}: {slower:.0f} ms, alone {usual:.0f} ms")
    return missed


def _times(alone: CallTimes, beside: CallTimes) -> dict[str, Any]:
    """The percentiles in ms and the number of calls."""
    figures: dict[str, Any] = {}
    for name, times in (("alone", alone), ("beside", beside)):
        figures[name] = {f"p{share}": round(times.percentile(share), 1) for share in (50, 95)}
        figures[name] |= {"n": len(times.seconds), "failed": dict(times.failed)}
    return figures


def settle(
    system: AttackedSystem, before: Mapping[str, tuple[ProcessState | None, int]], seconds: float = _SETTLE_SECONDS
) -> list[str]:
    """Wait until the services are as before, at most this long; what is still wrong then."""
    end = time.monotonic() + seconds
    while True:
        wrong = [fault for name, state in before.items() for fault in _left_over(system, name, *state)]
        if not wrong or time.monotonic() > end:
            return wrong
        time.sleep(0.5)


def _left_over(system: AttackedSystem, name: str, old: ProcessState | None, children: int) -> list[str]:
    new, children_now = state_of_services(system).get(name, (None, 0))
    if old is None or new is None:
        return [f"the {name} has ended"]
    kept = {
        "MB": (round(new.resident - old.resident), MAX_KEPT_MB),
        "threads": (new.threads - old.threads, MAX_KEPT_THREADS),
        "descriptors": (new.descriptors - old.descriptors, MAX_KEPT_DESCRIPTORS),
    }
    wrong = [f"the {name} keeps {count} {what} more" for what, (count, most) in kept.items() if count > most]
    if children_now != children:
        wrong.append(f"the {name} has {children_now} child processes, before {children}")
    if not is_serving(system.services[name].address, _HEALTH_SECONDS):
        wrong.append(f"the {name} does not report SERVING")
    return wrong


def table(rows: Mapping[str, Mapping[str, Any]]) -> TextTable:
    """The figures of attacks: statuses, times of legitimate calls, and memory."""
    cells = []
    for name, row in rows.items():
        calls = [
            f"{kind} {call['alone']['p50']:.0f} > {call['beside']['p50']:.0f}, {call['alone']['p95']:.0f} > "
            f"{call['beside']['p95']:.0f} (n={call['beside']['n']})"
            for kind, call in row["calls"].items()
        ]
        statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(row["statuses"].items()))
        memory = ", ".join(f"{process} {peak}" for process, peak in sorted(row["peak_mb"].items()))
        cells.append([name, statuses, "; ".join(calls), memory, "; ".join(row["missed"]) or "-"])
    columns = ("attack", "got", "p50, p95 in ms: alone > beside", "peak MB", "missed")
    return [TableColumn(name) for name in columns], cells


def main() -> int:
    """Attack, print and save the figures. The exit status is 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="attacks; --list shows all. Default: all")
    parser.add_argument("--seconds", type=float, help="duration of each attack. Default: 4 to 60, as each needs")
    parser.add_argument("--wlasl", type=Path, default=Path(os.environ.get("WLASL", "../shared/wlasl")),
                        help="directory of WLASL. Without it, videos are synthetic and show nobody")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the names of all attacks and what they do")
    arguments = parser.parse_args()
    console = open_console(min_width=160)
    if arguments.list:
        print_table(console, [TableColumn(name) for name in ("attack", "what it does")], _descriptions())
        return 0
    names = arguments.names or [*ATTACKS, _ANOTHER_USER]
    for name in names:
        if name not in (*ATTACKS, _ANOTHER_USER):
            parser.error(f"there is no attack {name}. --list shows all")
    rows = _measure_all(console, names, arguments.wlasl if arguments.wlasl.is_dir() else None, arguments.seconds)
    print_table(console, *table(rows))
    missed = [name for name, row in rows.items() if row["missed"]]
    print_line(console, f"{len(rows) - len(missed)} of {len(rows)} attacks missed no bar")
    return 1 if missed else 0


def _descriptions() -> list[list[str]]:
    rows = [[name, attack.about] for name, attack in ATTACKS.items()]
    return [*rows, [_ANOTHER_USER, "the user nobody on the files, sockets and ports of the store of `signet up`"]]


def _measure_all(
    console: Console, names: list[str], wlasl: Path | None, seconds: float | None
) -> dict[str, dict[str, Any]]:
    """Run attacks one after the other, and save the figures of each."""
    rows = {}
    with ExitStack() as cleanup:
        system = None
        for name in names:
            if name == _ANOTHER_USER:
                row = measure_another_user()
            else:
                if system is None:
                    folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="signet-attacks-"))
                    system = cleanup.enter_context(AttackedSystem(Path(folder), wlasl))
                row = measure(system, name, seconds)
            if row is None:
                print_line(console, f"{name}: left out, because it needs the rights of root")
                continue
            rows[name] = {**row, **origin()}
            print_line(console, f"{name}: {'; '.join(row['missed']) or 'holds'}")
            save_results(RESULTS, load_results(RESULTS) | {name: rows[name]})
    return rows


if __name__ == "__main__":
    raise SystemExit(run_command(main))
