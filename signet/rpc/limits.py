"""How large a message may be, for servers and clients alike."""

# An encoded clip, or a ten-minute landmark tensor, and some. gRPC's own default of 4 MiB is less than one phone video.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]
