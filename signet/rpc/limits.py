"""The limits of messages, calls and connections, with the gRPC options for servers and clients."""

# The largest clip in a message: a landmark tensor of ten minutes, or 15 s of a phone's 1080p video. gRPC's default is
# 4 MiB. A server holds several messages at a time, so that the largest one decides how much memory clients can fill.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
# The largest message to a service whose requests carry no clips. A request of more than 1 MiB is refused there by name.
MAX_PLAIN_MESSAGE_BYTES = 4 * 1024 * 1024
# The other fields of the message with the largest clip.
_OTHER_FIELDS_BYTES = 64 * 1024

_SIZE_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES + _OTHER_FIELDS_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES + _OTHER_FIELDS_BYTES),
]

# A call can take minutes without a byte in either direction. A ping every 20 s keeps it alive in proxies and NAT
# routers, most of which forget a silent connection after 50 s or more. gRPC gives up a connection that leaves a ping
# unanswered for 60 s. A shorter time would end uploads over a slow link, where a ping waits behind the data.
_KEEPALIVE_OPTIONS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

# The connections of a server. A further one is closed at once. Each takes a file descriptor and about 17 kB.
MAX_CONNECTIONS = 4_000

# The options of every client's channel.
CHANNEL_OPTIONS = [*_SIZE_OPTIONS, *_KEEPALIVE_OPTIONS]

# By default gRPC waits up to two minutes between attempts to connect, and 20 s for a connection. A server that was
# started again must be used sooner, and one that cannot be reached must be reported sooner.
RECONNECT_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

# By default a server allows a ping every 5 minutes, and every 2 hours without a call. It ends the connection of a
# client that sends more ("Too many pings"), and the client loses its answer. Here a client may send two pings a second,
# with calls and without. A server sends pings too: it stops the work of a client that has vanished.
SERVER_OPTIONS = [
    *CHANNEL_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    # Otherwise two servers could silently share a port, and gRPC would divide the calls between them.
    ("grpc.so_reuseport", 0),
    # By default gRPC learns from pings how much a connection can carry, and buffers that much of each stream, up to
    # whole messages that nobody reads yet. Without this, it buffers 64 KiB, and the whole message while it is read.
    ("grpc.http2.bdp_probe", 0),
    # A client of gRPC sends its preface and settings at once. By default a silent connection is kept for two minutes.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # gRPC's clients connect again, without an error, when they make the next call.
    ("grpc.max_connection_idle_ms", 300_000),
    # Calls of one connection. It limits what a client can open and cancel at once. A client that begins more calls
    # than this before it knows the number sees some end with UNAVAILABLE, so the number is no small one.
    ("grpc.max_concurrent_streams", 1_000),
    # gRPC ends calls at random if more than 1,000 wait until the server looks at them. The server looks at each call
    # soon, and refuses those that it cannot work on with a time to retry.
    ("grpc.server.max_pending_requests", 8_000),
    ("grpc.server.max_pending_requests_hard_limit", 16_000),
]

# The calls that a server works on at a time. Watched runs and extractions take little, but take hours.
_MAX_CALLS = {"calls": 256, "streams": 128}
# The calls of gRPC's own services. They have a number of their own, so that health checks are always answered.
_MAX_OTHER_CALLS = 64

# The longest time of a call, also if its caller allows more. The longest work for one message is the extraction of a
# clip of 36,000 frames. It gets 60 s and 0.2 s for each of its frames.
_MAX_CALL_SECONDS = 7_260.0


def max_calls(method: str, *, streaming: bool) -> tuple[str, int]:
    """The kind of a method ("signet.v1.Trainer/StartRun"), and how many calls of this kind may be under way."""
    if not method.startswith("signet."):
        return method.rpartition("/")[0], _MAX_OTHER_CALLS
    kind = "streams" if streaming else "calls"
    return kind, _MAX_CALLS[kind]


def max_call_seconds(method: str) -> float | None:
    """The longest time of a call with one answer; None for no limit. A stream of answers has none."""
    return _MAX_CALL_SECONDS
