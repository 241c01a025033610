"""Which container a file is, and whether all of it has arrived."""

import pytest

from services.extractor.video.container import MATROSKA, identify
from signet.errors import ClipError

_EBML_HEADER = b"\x1a\x45\xdf\xa3\x84\xff\xfe\xfd\xfc"
_SEGMENT = b"\x18\x53\x80\x67"


@pytest.mark.parametrize("size", [b"\xff", b"\x7f\xff", b"\x01" + b"\xff" * 7])
def test_a_matroska_file_whose_length_is_not_declared_is_taken(size: bytes) -> None:
    """Browsers record WebM live, and do not know the length when they write the header."""
    assert identify(_EBML_HEADER + _SEGMENT + size + bytes(50), "live.webm") == MATROSKA


@pytest.mark.parametrize("size", [b"\xb2", b"\x40\x32", b"\x01" + bytes(6) + b"\x32"])
def test_a_matroska_file_has_to_hold_the_length_that_it_declares(size: bytes) -> None:
    data = _EBML_HEADER + _SEGMENT + size + bytes(50)
    assert identify(data, "whole.webm") == MATROSKA
    with pytest.raises(ClipError, match=rf"cut off: it declares {len(data)} bytes, but has {len(data) - 1}"):
        identify(data[:-1], "part.webm")
