"""Pictures are decoded, and unusable ones are refused before memory is allocated for them."""

import struct

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from services.extractor.streams.images import MAX_IMAGE_BYTES, decode_image, read_image_size
from signet.errors import ClipError

PICTURE = np.zeros((48, 64, 3), np.uint8)
PICTURE[:24, :32] = (0, 0, 255)  # OpenCV's order is blue, green, red


def encode(kind: str, picture: npt.NDArray[np.uint8] = PICTURE) -> bytes:
    """A picture as a file of this kind."""
    return bytes(cv2.imencode(kind, picture)[1])


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_pictures_become_rgb(kind: str) -> None:
    data = encode(kind)
    assert read_image_size(data) == (64, 48)
    decoded = decode_image(data)
    assert decoded.shape == (48, 64, 3)
    assert decoded[4, 4, 0] > 200
    assert decoded[4, 4, 2] < 50
    assert decoded[40, 60].max() < 50


def test_lossless_webp_and_exif_orientation() -> None:
    lossless = bytes(cv2.imencode(".webp", PICTURE, [cv2.IMWRITE_WEBP_QUALITY, 101])[1])
    assert read_image_size(lossless) == (64, 48)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = encode(".jpg")
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert decode_image(turned).shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><p>Not found", "html"),
        (b"GIF89a" + bytes(40), "unsupported"),
        (bytes(100), "unsupported"),
        (b"\xff\xd8", "truncated"),
        (b"\xff\xd8\xff\xe0\0\0" + bytes(40), "truncated"),
        (b"\xff\xd8" + b"\xff" * 1000, "truncated"),
        (b"\xff\xd8" + b"\xff\xd0" * 1000, "truncated"),
        (encode(".png")[:20], "truncated"),
        (encode(".jpg")[:400], "truncated"),
        (encode(".png")[:40], "undecodable"),
        (encode(".webp")[:22], "truncated"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 100_000, 100_000) + bytes(20), "too_large"),
        (b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 60_000, 60_000) + bytes(20) + b"\xff\xd9", "too_large"),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0\0\0\0" + b"\xff" * 6, "too_large"),
        (encode(".png", np.zeros((4, 4, 3), np.uint8)), "unsupported"),
        (encode(".jpg")[:-2], "truncated"),
        (encode(".jpg") + bytes(MAX_IMAGE_BYTES), "too_large"),
    ],
)
def test_unusable_pictures_are_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ClipError) as caught:
        decode_image(data)
    assert caught.value.reason == reason


def test_mutated_pictures_are_decoded_or_refused() -> None:
    random = np.random.default_rng(0)
    for kind in (".jpg", ".png", ".webp"):
        original = encode(kind)
        for _ in range(30):
            data = bytearray(original)
            for place in random.integers(0, len(data), 5):
                data[place] = random.integers(256)
            try:
                assert decode_image(bytes(data)).ndim == 3
            except ClipError as error:
                assert str(error)
