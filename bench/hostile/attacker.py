"""What an attack is, and the client with which attacks call services."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message

from bench.hostile.system import AttackedSystem, Target
from signet.rpc.limits import CHANNEL_OPTIONS

# The deadline of a call of an attacker. Calls that have no answer at the end of the attack take longer by this.
_CALL_SECONDS = 15.0
# Statuses that say that a service did not understand what happened.
UNEXPECTED = frozenset({"INTERNAL", "UNKNOWN"})


class Attacker:
    """A client that counts the statuses that it gets. One attack has one.

    Args:
        target: what it attacks.
        seconds: the duration of the attack.
    """

    def __init__(self, target: Target, seconds: float) -> None:
        self.target = target
        self.seconds = seconds
        self.statuses: Counter[str] = Counter()
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()

    @property
    def seconds_left(self) -> float:
        """The remaining time of the attack; not below 0."""
        return max(0.0, self._end - time.monotonic())

    def begin(self) -> None:
        """Let the time of the attack begin now, after its preparation."""
        self._end = time.monotonic() + self.seconds

    def count(self, status: str, number: int = 1) -> None:
        """Count a status."""
        with self._lock:
            self.statuses[status] += number

    def channel(self, service: str) -> grpc.Channel:
        """A connection to a service."""
        options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        return grpc.insecure_channel(self.target.addresses[service], options=options)

    def call(self, channel: grpc.Channel, method: str, request: bytes | Message) -> bytes:
        """Make one call and count its status. The answer is empty if there is none."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        try:
            (answer,) = channel.unary_stream(method)(data, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            self.count(error.code().name)
            return b""
        except ValueError:
            self.count("OK")  # a stream of several answers
            return b""
        self.count("OK")
        return bytes(answer)

    def flood(
        self,
        service: str,
        requests: Iterable[tuple[str, bytes | Message]],
        *,
        at_once: int = 8,
        most: int | None = None,
    ) -> None:
        """Repeat these calls, so many at once over one connection, until the time is over or `most` are made."""
        endless = itertools.islice(itertools.cycle(requests), most)

        def work(channel: grpc.Channel) -> None:
            while self.seconds_left:
                with self._lock:
                    request = next(endless, None)
                if request is None:
                    return
                self.call(channel, *request)

        with self.channel(service) as channel:
            run_together([lambda: work(channel)] * at_once)


def run_together(functions: Sequence[Callable[[], None]]) -> None:
    """Run functions in a thread each, and wait for all."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass(frozen=True)
class Attack:
    """An attack, and what must hold while it runs and afterwards."""

    about: str  # what it does, in one line
    run: Callable[[Attacker], None]  # runs in a process of its own until `Attacker.seconds_left` is 0
    services: tuple[str, ...] = ("evaluator",)  # that must run
    legitimate: tuple[str, ...] = ("Recognize",)  # the calls that are measured: keys of `bench.hostile.meter.CALLS`
    seconds: float = 6.0
    # Services that are stopped afterwards, because they go on with work of the attack.
    stopped: tuple[str, ...] = ()
    # Looks at the system after the attack, and puts it in order; returns what is wrong.
    check: Callable[[AttackedSystem], list[str]] | None = None
