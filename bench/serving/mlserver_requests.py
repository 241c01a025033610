"""Writes the requests for MLServer: `python mlserver_requests.py MODEL INPUTS.npz REQUESTS`, in MLServer's environment.

INPUTS.npz has one array for each clip, float32 [T, 75, 3]. Arrays of equal T can be joined to batches.
"""

import struct
import sys
from pathlib import Path

import numpy as np
from mlserver.grpc import dataplane_pb2 as pb


def main() -> None:
    """Write one V2 request for each array, each after its length in 4 bytes."""
    model, inputs, requests = sys.argv[1:]
    messages = []
    with np.load(inputs) as arrays:
        for name in arrays.files:
            clip = arrays[name]
            length = int(name.rpartition("-")[2])
            request = pb.ModelInferRequest(model_name=model)
            request.inputs.add(name="landmarks", datatype="FP32", shape=[1, *clip.shape])
            request.inputs.add(name="lengths", datatype="INT64", shape=[1, 1])
            request.raw_input_contents.append(clip.tobytes())
            request.raw_input_contents.append(np.array([length], np.int64).tobytes())
            messages.append(request.SerializeToString())
    Path(requests).write_bytes(b"".join(struct.pack("<I", len(message)) + message for message in messages))


if __name__ == "__main__":
    main()
