"""Makes folders of files whose content does not matter."""

from collections.abc import Callable
from pathlib import Path

import pytest

MakeFiles = Callable[..., Path]


@pytest.fixture
def make_files(tmp_path: Path) -> MakeFiles:
    """Makes files with these paths below a folder; each has its own content, unless `content` is given."""

    def make(*names: str, content: bytes = b"") -> Path:
        root = tmp_path / "own"
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content or name.encode())
        return root

    return make
