"""Mutations of video files. The same seed makes the same mutations."""

import random
import re
import zlib
from collections.abc import Callable, Sequence

from bench.hostile.samples import Sample

# The places of sizes and numbers: the types of boxes and chunks (MP4, AVI, PNG), and the identifiers of EBML elements.
_TYPES = re.compile(
    rb"ftyp|moov|mdat|free|mvhd|trak|tkhd|edts|elst|mdia|mdhd|hdlr|minf|stbl|stsd|stts|ctts|stss|stsc|stsz|stco|co64|moof"
    rb"|mfhd|traf|tfhd|tfdt|trun|mvex|trex|mfra|tfra|sidx|avcC|hvcC|av1C|vpcC|esds|avc1|hev1|mp4v|pasp|colr|udta|meta"
    rb"|RIFF|LIST|hdrl|avih|strl|strh|strf|movi|idx1|00dc|JUNK|IHDR|acTL|fcTL|fdAT|IDAT|IEND|GIF89a|NETSCAPE2\.0"
)
_ELEMENTS = re.compile(
    rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x11\x4d\x9b\x74|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75"
    rb"|\x1c\x53\xbb\x6b|\xae|\xe0|\xb0|\xba|\xa3|\xa0|\xa1|\xe7|\xd7|\x83|\x86|\x63\xa2|\x23\xe3\x83|\x2a\xd7\xb1|\x44\x89"
)
_NUMBERS = (
    0, 1, 2, 3, 7, 8, 15, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
_HEADER_BYTES = 1024
_MOST_BLOCK = 512
# Mutations that make a file longer do not make it much longer.
_MOST_BYTES = 4_000_000


class Mutator:
    """Mutates files. Each number of an input makes one file, whatever other inputs there are.

    Args:
        samples: the files that are mutated.
        seed: the seed of all choices.
    """

    def __init__(self, samples: Sequence[Sample], seed: int) -> None:
        self._samples = samples
        self._containers = sorted({sample.container for sample in samples})
        self._seed = seed

    def make(self, number: int) -> Sample:
        """The input with this number: a sample after one to four mutations."""
        chance = random.Random(f"{self._seed} {number}")  # noqa: S311  (mutations are no secrets)
        # Containers with a single codec are as frequent as others.
        container = chance.choice(self._containers)
        sample = chance.choice([each for each in self._samples if each.container == container])
        data = bytearray(sample.data)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
            if not data:
                break
            mutation = chance.choice(_MUTATIONS)
            mutation(data, chance, chance.choice(self._samples).data)
            del data[_MOST_BYTES:]
        if chance.random() < 0.5 and data.startswith(b"\x89PNG"):
            _mend_checksums(data)
        return Sample(f"fuzz-{number:06}-{sample.name}", sample.container, bytes(data))


Mutation = Callable[[bytearray, random.Random, bytes], None]


def _range(data: Sequence[int], chance: random.Random, most: int = _MOST_BLOCK) -> slice:
    """A random part of the data. Short parts are as likely as long ones."""
    length = min(len(data), chance.randint(1, chance.choice((4, 16, 64, most))))
    start = chance.randint(0, len(data) - length)
    return slice(start, start + length)


def _flip_bits(data: bytearray, chance: random.Random, _: bytes) -> None:
    for _flip in range(chance.choice((1, 2, 8, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _replace_bytes(data: bytearray, chance: random.Random, _: bytes) -> None:
    part = _range(data, chance)
    data[part] = chance.randbytes(part.stop - part.start)


def _cut_end(data: bytearray, chance: random.Random, _: bytes) -> None:
    del data[chance.randrange(len(data)) :]


def _cut_middle(data: bytearray, chance: random.Random, _: bytes) -> None:
    del data[_range(data, chance)]


def _insert(data: bytearray, chance: random.Random, _: bytes) -> None:
    place = chance.randint(0, len(data))
    data[place:place] = chance.randbytes(chance.randint(1, chance.choice((4, 64, _MOST_BLOCK))))


def _duplicate(data: bytearray, chance: random.Random, _: bytes) -> None:
    part = _range(data, chance, len(data))
    data[part.stop : part.stop] = data[part] * chance.choice((1, 1, 2, 16))


def _reorder(data: bytearray, chance: random.Random, _: bytes) -> None:
    """Exchange two parts that are next to each other."""
    first, middle, last = sorted(chance.randint(0, len(data)) for _ in range(3))
    data[first:last] = data[middle:last] + data[first:middle]


def _splice(data: bytearray, chance: random.Random, other: bytes) -> None:
    """Replace the end of the file by the end of another one."""
    data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


def _graft(data: bytearray, chance: random.Random, other: bytes) -> None:
    """Overwrite a part by bytes of another file."""
    part = _range(other, chance)
    place = chance.randrange(len(data))
    data[place : place + part.stop - part.start] = other[part]


def _zero(data: bytearray, chance: random.Random, _: bytes) -> None:
    part = _range(data, chance, len(data))
    data[part] = bytes(part.stop - part.start)


def _number(chance: random.Random, width: int) -> bytes:
    """A number of so many bytes at the edge of a type, or near it, or random; in either byte order."""
    number = chance.choice(_NUMBERS) + chance.choice((0, 0, -1, 1))
    if chance.random() < 0.3:
        number = chance.getrandbits(8 * width)
    data = (number % (1 << 8 * width)).to_bytes(width, "big")
    return data if chance.random() < 0.5 else data[::-1]


def _overwrite_number(data: bytearray, chance: random.Random, place: int) -> None:
    number = _number(chance, chance.choice((1, 2, 4, 4, 8)))
    data[place : place + len(number)] = number


def _change_header(data: bytearray, chance: random.Random, _: bytes) -> None:
    """Overwrite numbers in the first or the last kilobyte."""
    for _change in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(min(len(data), _HEADER_BYTES))
        _overwrite_number(data, chance, chance.choice((place, len(data) - 1 - place)))


def _change_box(data: bytearray, chance: random.Random, _: bytes) -> None:
    """Change the size or a number at the start of a box or a chunk."""
    places = [found.start() for found in _TYPES.finditer(data)]
    if not places:
        _change_header(data, chance, b"")
        return
    place = chance.choice(places)
    offset = chance.choice((-4, -4, -4, 4, 4, 8, 12, 16, 20, chance.randrange(4, 100)))
    at = max(0, place + offset)
    old = int.from_bytes(data[at : at + 4], "big")
    if chance.random() < 0.3:
        near = old + chance.choice((-8, -1, 1, 8, 16, old))
        data[at : at + 4] = (near % 2**32).to_bytes(4, "big")
    else:
        data[at : at + 4] = _number(chance, 4)


def _change_element(data: bytearray, chance: random.Random, _: bytes) -> None:
    """Change the size or the content of an EBML element."""
    places = [found.end() for found in _ELEMENTS.finditer(data)]
    if not places or not data.startswith(b"\x1a\x45"):
        _change_box(data, chance, b"")
        return
    place = chance.choice(places)
    width = 9 - data[place].bit_length() if place < len(data) and data[place] else 1
    if chance.random() < 0.5:
        value = chance.choice(
            (0, 1, 2**7 - 2, 2 ** (7 * width) - 2, 2 ** (7 * width) - 1, chance.getrandbits(7 * width))
        )
        size = (1 << 7 * width | value) % (1 << 8 * width)
        data[place : place + width] = size.to_bytes(width, "big")
    else:
        _overwrite_number(data, chance, place + width)


def _mend_checksums(data: bytearray) -> None:
    """Give each chunk of a PNG the checksum of its content, so that decoders read what was mutated."""
    position = 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
        position = end + 4


# These suit data of any kind.
_PLAIN_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits, _replace_bytes, _cut_end, _cut_middle, _insert, _duplicate, _reorder, _splice, _graft, _zero,
)  # fmt: skip
# Changes of structure are as frequent as all others, because most of the others end in a refusal of the whole file.
_MUTATIONS: tuple[Mutation, ...] = (
    *_PLAIN_MUTATIONS, _change_header, _change_header, _change_header, _change_box, _change_box, _change_box,
    _change_element, _change_element, _change_element,
)  # fmt: skip


def mutate_bytes(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """Change data of any kind one to four times. `other` gives the bytes that are spliced in; it must not be empty."""
    mutated = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        if mutated:
            chance.choice(_PLAIN_MUTATIONS)(mutated, chance, other)
            del mutated[_MOST_BYTES:]
    return bytes(mutated)
