"""Keys, and the names that become parts of them."""

import pytest

from signet.errors import InvalidInput
from signet.store import keys


def test_keys_do_not_change() -> None:
    assert keys.clip("wlasl", "07069") == "landmarks/v1/wlasl/07069.safetensors"
    assert keys.dataset_manifest("wlasl20", "abc") == "datasets/wlasl20/abc/manifest.json"
    assert keys.dataset_shard("wlasl20", "abc") == "datasets/wlasl20/abc/shard-00000.safetensors"
    assert keys.run("r1", "config.json") == "runs/r1/config.json"
    assert keys.model("signet", "v1", "model.onnx") == "models/signet/v1/model.onnx"
    assert keys.alias("signet", "latest") == "models/signet/aliases/latest.json"
    assert keys.report("r1", "report.json") == "reports/r1/report.json"


@pytest.mark.parametrize("name", ["a", "wlasl", "07069", "WLASL-100_v0.3", "x" * 128])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert keys.check_name("corpus", name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a..b", "-a", ".hidden", "a b", "ä", "a\n", "a\x00", "x" * 129, "%2e%2e"]
)
def test_a_name_that_could_leave_its_prefix_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a corpus: use 1 to 128 letters"):
        keys.clips(name)
