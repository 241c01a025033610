"""`signet token`: it shows a token once, keeps its hash, and lists and revokes tokens by name."""

import stat
from pathlib import Path

import pytest

from services.cli import app
from signet.errors import SignetError
from signet.security.tokens import read_tokens


def signet(*arguments: str) -> None:
    app(["token", *arguments], standalone_mode=False)


def test_a_token_is_shown_once_and_found_by_its_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.json"
    signet("create", "--name", "phone", "--permission", "read", "--rate", "5", "--days", "30", "--file", str(file))
    shown, said = capsys.readouterr()
    token = shown.strip()
    assert token.startswith("signet_")
    assert token not in said
    entry = read_tokens(file).find(token)
    assert entry is not None
    assert (entry.name, entry.permission, entry.requests_per_second) == ("phone", "read", 5)
    signet("list", "--file", str(file))
    listed = capsys.readouterr().out
    assert "phone" in listed
    assert token not in listed
    assert entry.sha256 not in listed
    signet("revoke", "--name", "phone", "--file", str(file))
    assert read_tokens(file).tokens == ()
    signet("list", "--file", str(file))
    assert "no tokens" in capsys.readouterr().out


def test_a_token_can_be_saved_to_a_new_file_of_its_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, saved = tmp_path / "tokens.json", tmp_path / "phone.token"
    signet("create", "--name", "phone", "--permission", "write", "--file", str(file), "--save", str(saved))
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert read_tokens(file).find(saved.read_text().strip()) is not None
    assert saved.read_text().strip() not in "".join(capsys.readouterr())
    with pytest.raises(SignetError, match="cannot be made"):
        signet("create", "--name", "second", "--permission", "read", "--file", str(file), "--save", str(saved))
    other = tmp_path / "other.token"
    with pytest.raises(SignetError, match="has a token 'phone' already"):
        signet("create", "--name", "phone", "--permission", "read", "--file", str(file), "--save", str(other))
    assert not other.exists()


def test_the_file_can_come_from_the_setting_of_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGNET_TOKENS_FILE", str(tmp_path / "tokens.json"))
    signet("create", "--name", "a", "--permission", "admin")
    signet("list")
    assert "admin" in capsys.readouterr().out
