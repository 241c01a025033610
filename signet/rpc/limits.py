"""The limits of messages and the checks of connections, as gRPC options for servers and clients."""

# The largest clip in a message: more than an encoded clip or a landmark tensor of ten minutes. gRPC's default is 4 MiB,
# less than one phone video.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
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

# The options of every client's channel.
CHANNEL_OPTIONS = [*_SIZE_OPTIONS, *_KEEPALIVE_OPTIONS]

# By default a server allows a ping every 5 minutes, and every 2 hours without a call. It ends the connection of a
# client that sends more ("Too many pings"), and the client loses its answer. Here a client may send two pings a second,
# with calls and without. A server sends pings too: it stops the work of a client that has vanished.
SERVER_OPTIONS = [
    *CHANNEL_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    # Otherwise two servers could silently share a port, and gRPC would divide the calls between them.
    ("grpc.so_reuseport", 0),
]
