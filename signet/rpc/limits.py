"""The maximum size of a message, for servers and clients."""

# More than an encoded clip or a landmark tensor of ten minutes. gRPC's default, 4 MiB, is less than one phone video.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]
