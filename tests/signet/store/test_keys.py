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
    assert keys.model_version("signet", "v1") == "models/signet/v1/"
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


def test_the_folder_of_the_aliases_cannot_be_a_version() -> None:
    with pytest.raises(InvalidInput, match="the aliases are stored under this name"):
        keys.model("signet", "aliases", "model.json")


def test_the_model_of_a_key_is_found() -> None:
    assert keys.model_name("models/signet/v1/model.json") == "signet"
    assert keys.model_name("models/signet/aliases/latest.json") == "signet"
    for key in ("models/README", "models/a b/v1/model.json", "runs/r1/config.json", "models/"):
        assert keys.model_name(key) == ""
