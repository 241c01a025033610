"""The model of a Signet version in MLServer: its ONNX graph, as V2 inputs `landmarks` and `lengths`.

bench.serving.servers copies this file into the folder of MLServer's models. It runs in MLServer's environment, which
has nothing of Signet.
"""

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):  # type: ignore[misc]
    """Runs a graph."""

    async def load(self) -> bool:
        """Load the graph that the settings name."""
        options = ort.SessionOptions()
        # As Signet's evaluator does: threads that spin would take the cores from the load generator.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the graph on a batch."""
        inputs = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        lengths = inputs["lengths"].reshape(-1).astype(np.int64)
        (log_probs,) = self._session.run(["log_probs"], {"landmarks": inputs["landmarks"], "lengths": lengths})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="log_probs", payload=log_probs)]
        )
