"""Selects the clips to extract: the glosses with the most clips that decode, and a number of clips of each."""

import hashlib
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import SPLITS, Instance
from services.extractor.sources.pieces import make_piece
from services.extractor.video.decode import Segment
from signet.errors import ClipError, InvalidInput, NotFound, quote

# The number of glosses whose clips are verified together.
_GLOSSES_AT_A_TIME = 32
# The number of unknown names that an error names.
_MOST_NAMED = 5


@dataclass(frozen=True)
class SelectionCriteria:
    """Which clips to take.

    Attributes:
        max_glosses: the number of glosses, taken in order of their usable clips; 0 takes all, and None takes the number
            that is usual for the corpus.
        samples_per_gloss: the largest number of clips of each gloss; 0 takes all.
        splits: take only these splits; empty takes all.
        glosses: take only these glosses; empty chooses by `max_glosses`.
    """

    max_glosses: int | None = 0
    samples_per_gloss: int = 0
    splits: tuple[str, ...] = ()
    glosses: tuple[str, ...] = ()

    def complete(self, corpus: VideoCorpus) -> "SelectionCriteria":
        """These criteria, with the number of glosses that is usual for the corpus if none is given."""
        return self if self.max_glosses is not None else replace(self, max_glosses=corpus.default_max_glosses)

    @property
    def canonical_text(self) -> str:
        """Text that identifies the criteria. The version of a corpus depends on it, so it must not change."""
        return (
            f"Choice(max_glosses={self.max_glosses!r}, samples_per_gloss={self.samples_per_gloss!r}, "
            f"splits={self.splits!r}, glosses={self.glosses!r})"
        )


@dataclass(frozen=True)
class Usable:
    """A usable clip.

    Attributes:
        sha256: hash of the file.
        segment: the frames of the sign.
        note: a remark for people if the frames are not those of the metadata.
        stored: whether the store has its landmarks already.
        pieces: the clips that a long video is cut into; () if the clip is not cut.
    """

    sha256: str
    segment: Segment
    note: str = ""
    stored: bool = False
    pieces: tuple["Usable", ...] = ()


@dataclass(frozen=True)
class Selection:
    """The chosen glosses and clips, the broken clips, and the instances without a file."""

    glosses: tuple[str, ...]
    clips: tuple[tuple[Instance, Usable], ...]
    broken: tuple[tuple[Instance, ClipError], ...]
    missing: tuple[Instance, ...]


Verdicts = Mapping[Instance, Usable | ClipError]
Verify = Callable[[Sequence[Instance]], Verdicts]


def select(corpus: VideoCorpus, choice: SelectionCriteria, verify: Verify) -> Selection:
    """Choose glosses and clips.

    The number of files of a gloss is an upper bound of its usable clips. Glosses are therefore verified in order of
    their number of files, until no remaining gloss can displace a chosen one. Ties are ordered by name.

    `verify` decodes clips and returns for each whether it is usable.

    Raises:
        InvalidInput: the corpus has no such gloss, or there is no such split.
        NotFound: none of the requested clips has a file.
    """
    check_criteria(corpus, choice)
    splits, glosses = frozenset(choice.splits), frozenset(choice.glosses)
    wanted = [
        instance
        for instance in corpus.instances
        if (not splits or instance.split in splits) and (not glosses or instance.gloss in glosses)
    ]
    by_gloss: dict[str, list[Instance]] = {}
    for instance in wanted:
        by_gloss.setdefault(instance.gloss, []).append(instance)
    present = {gloss: [clip for clip in clips if corpus.has(clip)] for gloss, clips in by_gloss.items()}
    ranked = sorted((gloss for gloss in present if present[gloss]), key=lambda gloss: (-len(present[gloss]), gloss))
    if not ranked:
        raise NotFound(
            f"{corpus.folder}: has none of the {len(wanted)} requested clips. Choose other "
            f"splits or glosses, or add the clips as {corpus.naming}. {corpus.missing_advice}".rstrip()
            + "".join(f" ({note}.)" for note in corpus.notes)
        )
    limit = choice.max_glosses if choice.max_glosses and not choice.glosses else len(ranked)

    verdicts: dict[Instance, Usable | ClipError] = {}
    verified: set[str] = set()
    chosen: list[tuple[int, str]] = []  # (-usable clips, gloss): sorts the preferred gloss first
    for place, gloss in enumerate(ranked):
        if len(chosen) >= limit and chosen[limit - 1] < (-len(present[gloss]), gloss):
            break
        if gloss not in verified:
            # The first `limit` glosses are verified in any case, and several at a time keep all workers busy.
            batch = ranked[place : max(place + 1, min(place + _GLOSSES_AT_A_TIME, limit))]
            verdicts.update(verify([clip for each in batch for clip in present[each]]))
            verified.update(batch)
        insort(chosen, (-sum(isinstance(verdicts[clip], Usable) for clip in present[gloss]), gloss))

    taken = [gloss for _, gloss in chosen[:limit]]
    # Without a limit, glosses without any file were requested too: all of their clips are missing.
    requested = set(taken if limit < len(ranked) else by_gloss)
    return Selection(
        glosses=tuple(taken),
        clips=tuple(pair for gloss in taken for pair in _sample(present[gloss], verdicts, choice.samples_per_gloss)),
        broken=tuple(
            (clip, verdict)
            for gloss in taken
            for clip in present[gloss]
            if isinstance(verdict := verdicts[clip], ClipError)
        ),
        missing=tuple(clip for clip in wanted if clip.gloss in requested and not corpus.has(clip)),
    )


def check_criteria(corpus: VideoCorpus, choice: SelectionCriteria) -> None:
    """Raise `InvalidInput` if the corpus does not have a requested gloss, or a requested split does not exist."""
    check_splits(choice)
    _check_known(corpus.title, "gloss", choice.glosses, {instance.gloss for instance in corpus.instances})


def check_splits(choice: SelectionCriteria) -> None:
    """Raise `InvalidInput` if a requested split does not exist."""
    _check_known("Signet", "split", choice.splits, SPLITS)


def _check_known(owner: str, kind: str, asked: Iterable[str], known: Iterable[str]) -> None:
    unknown = sorted(set(asked) - set(known))
    if unknown:
        names = sorted(known)
        few = (
            ", ".join(names)
            if len(names) <= 3
            else f"{len(names)} of them, from {quote(names[0])} to {quote(names[-1])}"
        )
        listed = ", ".join(map(quote, unknown[:_MOST_NAMED]))
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        raise InvalidInput(f"{owner} has no {kind} {listed}{more}. It has {few}.")


def _sample(
    clips: Iterable[Instance], verdicts: Mapping[Instance, Usable | ClipError], limit: int
) -> list[tuple[Instance, Usable]]:
    """The first `limit` usable clips, ordered by the hash of their ids: the same clips every time, from any split.

    Each piece of a long video is a clip.
    """
    usable = [pair for clip in clips if isinstance(verdict := verdicts[clip], Usable) for pair in _cut(clip, verdict)]
    if limit and len(usable) > limit:
        usable = sorted(usable, key=lambda pair: hashlib.sha256(pair[0].clip_id.encode()).digest())[:limit]
    return sorted(usable, key=lambda pair: pair[0].clip_id)


def _cut(clip: Instance, usable: Usable) -> list[tuple[Instance, Usable]]:
    """The clip itself, or its pieces."""
    count = len(usable.pieces)
    return [(make_piece(clip, number, count), piece) for number, piece in enumerate(usable.pieces, start=1)] or [
        (clip, usable)
    ]
