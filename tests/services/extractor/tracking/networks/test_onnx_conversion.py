"""What cannot be converted is refused."""

import pytest
import tflite

from services.extractor.tracking.networks import tflite_file
from services.extractor.tracking.networks.network import HAND_REGION, wheel_folder
from services.extractor.tracking.networks.onnx_conversion import convert
from services.extractor.tracking.networks.tflite_file import InvalidNetwork, TfliteFile


def _hand_region() -> bytes:
    return (wheel_folder() / HAND_REGION.path).read_bytes()


def test_an_unknown_operator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tflite_file._KINDS, tflite.BuiltinOperator.PRELU, "ROLL")
    with pytest.raises(InvalidNetwork, match=r"The operator ROLL cannot be converted to ONNX\."):
        convert(_hand_region(), HAND_REGION.outputs, 0.0, 1.0)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"<!doctype html><html></html>"])
def test_another_kind_of_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidNetwork, match="not a TensorFlow Lite file"):
        convert(data, ["output"], 0.0, 1.0)


def test_a_file_tells_its_operators_shapes_and_outputs() -> None:
    file = TfliteFile(_hand_region())
    assert file.shape(file.input) == (1, 256, 256, 3)
    assert list(file.output_names) == ["output_crop"]
    first = file.operators[0]
    assert (first.kind, first.inputs[0]) == ("CONV_2D", file.input)
    weight = file.constant(first.inputs[1])
    assert weight is not None
    assert weight.shape == (8, 3, 3, 3)
    assert file.constant(first.output) is None
