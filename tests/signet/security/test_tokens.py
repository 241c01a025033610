"""The file of tokens: it has hashes only, is written in one step, and is refused as a whole if a part is wrong."""

import json
import stat
import threading
from pathlib import Path

import pytest

from signet.errors import AlreadyExists, InvalidInput, InvalidSetting, NotFound, Unavailable
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token, hash_token, read_tokens, revoke_token

READ = TokenLimits(Permission.READ)


def test_the_file_has_the_hash_and_not_the_token_and_only_its_owner_reads_it(tokens_file: Path) -> None:
    token = create_token(tokens_file, "phone", TokenLimits(Permission.WRITE, 5, 20, 30))
    assert len(token) == len("signet_") + 43
    text = tokens_file.read_text()
    assert token not in text
    assert token.removeprefix("signet_") not in text
    assert stat.S_IMODE(tokens_file.stat().st_mode) == 0o600
    (entry,) = read_tokens(tokens_file).tokens
    assert (entry.name, entry.sha256, entry.allows) == ("phone", hash_token(token), Permission.WRITE)
    assert (entry.requests_per_second, entry.capacity) == (5, 20)
    assert entry.created is not None
    assert entry.expires is not None
    assert (entry.expires - entry.created).days == 30
    assert list(tokens_file.parent.iterdir()) == [tokens_file], "no temporary file is left"


def test_tokens_are_found_by_their_hash(tokens_file: Path) -> None:
    first, second = create_token(tokens_file, "a", READ), create_token(tokens_file, "b", READ)
    stored = read_tokens(tokens_file)
    found = [stored.find(first), stored.find(second)]
    assert [entry and entry.name for entry in found] == ["a", "b"]
    assert stored.find("signet_wrong") is None
    assert stored.find("") is None
    assert stored.find(hash_token(first)) is None, "who reads the file has no token"


def test_a_revoked_token_is_removed_and_the_others_stay(tokens_file: Path) -> None:
    create_token(tokens_file, "a", READ)
    create_token(tokens_file, "b", READ)
    tokens_file.chmod(0o640)
    revoke_token(tokens_file, "a")
    assert [entry.name for entry in read_tokens(tokens_file).tokens] == ["b"]
    assert stat.S_IMODE(tokens_file.stat().st_mode) == 0o640, "a group that the owner lets in stays in"
    with pytest.raises(NotFound, match=r"has no token 'a'\. Its tokens: b"):
        revoke_token(tokens_file, "a")


def test_a_name_is_given_once_and_must_be_plain(tokens_file: Path) -> None:
    create_token(tokens_file, "a", READ)
    with pytest.raises(AlreadyExists, match="has a token 'a' already"):
        create_token(tokens_file, "a", READ)
    for name in ("", "a b", "a\nb", "é", "x" * 65, "-a"):
        with pytest.raises(InvalidInput, match="A name has letters"):
            create_token(tokens_file, name, READ)
    with pytest.raises(InvalidInput, match="too long"):
        create_token(tokens_file, "b", TokenLimits(Permission.READ, days=1e12))
    with pytest.raises(Unavailable, match="cannot be written"):
        create_token(tokens_file.parent / "missing" / "tokens.json", "a", READ)


def test_writers_at_the_same_time_lose_no_token(tokens_file: Path) -> None:
    threads = [threading.Thread(target=create_token, args=(tokens_file, f"t{n}", READ)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.name for entry in read_tokens(tokens_file).tokens} == {f"t{n}" for n in range(16)}


GOOD = {"name": "a", "sha256": "0" * 64, "permission": "read"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        '{"tokens": [{}]}',
        json.dumps({"tokens": [GOOD | {"permission": "root"}]}),
        json.dumps({"tokens": [GOOD | {"sha256": "secret-token"}]}),
        json.dumps({"tokens": [GOOD | {"requests_per_second": 0}]}),
        json.dumps({"tokens": [GOOD | {"expires": "2026-01-01T00:00:00"}]}),
        json.dumps({"tokens": [GOOD | {"permision": "read"}]}),
        json.dumps({"tokens": [GOOD, GOOD | {"sha256": "1" * 64}]}),
        json.dumps({"tokens": [GOOD, GOOD | {"name": "b"}]}),
        json.dumps({"token": []}),
        " " * (5 << 20),
    ],
)
def test_a_file_with_any_fault_is_refused_as_a_whole(content: str, tokens_file: Path) -> None:
    tokens_file.write_text(content)
    with pytest.raises(InvalidSetting, match=r"SIGNET_TOKENS_FILE=.*tokens\.json: ") as refused:
        read_tokens(tokens_file)
    assert "secret-token" not in str(refused.value)
    with pytest.raises(InvalidSetting):
        create_token(tokens_file, "b", READ)
    assert tokens_file.read_text() == content, "a broken file is not overwritten"


def test_a_missing_file_is_named(tokens_file: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"cannot be read \(No such file"):
        read_tokens(tokens_file)


def test_a_file_that_was_written_by_hand_is_read(tokens_file: Path) -> None:
    tokens_file.write_text(json.dumps({"tokens": [GOOD]}))
    (entry,) = read_tokens(tokens_file).tokens
    assert (entry.expires, entry.requests_per_second) == (None, None)
