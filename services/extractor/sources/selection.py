"""Which clips to extract: the glosses with the most clips that really decode, and of each as many as asked for."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.extractor.sources.wlasl import SPLITS, Instance, Wlasl
from services.extractor.video.decode import Segment
from signet.errors import ClipError, InvalidInput, NotFound


@dataclass(frozen=True)
class Choice:
    """What is asked for.

    Attributes:
        max_glosses: take the glosses with the most usable clips, this many; 0 takes all.
        samples_per_gloss: at most this many clips of each; 0 takes all.
        splits: only these; empty takes all.
        glosses: only these; empty chooses by `max_glosses`.
    """

    max_glosses: int = 0
    samples_per_gloss: int = 0
    splits: tuple[str, ...] = ()
    glosses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usable:
    """A clip that decodes.

    Attributes:
        sha256: of the file.
        segment: the frames that are its sign.
        note: for people, where these are not the metadata's.
        stored: the store has its landmarks already.
    """

    sha256: str
    segment: Segment
    note: str = ""
    stored: bool = False


@dataclass(frozen=True)
class Selection:
    """What was chosen, and what could not be."""

    glosses: tuple[str, ...]
    clips: tuple[tuple[Instance, Usable], ...]
    broken: tuple[tuple[Instance, ClipError], ...]
    missing: tuple[Instance, ...]


Verdicts = Mapping[Instance, Usable | ClipError]
Verify = Callable[[Sequence[Instance]], Verdicts]


def select(corpus: Wlasl, choice: Choice, verify: Verify) -> Selection:
    """Choose glosses and clips.

    How many files a gloss has bounds how many of them decode. So glosses are verified from the best supplied downwards,
    until none of those left could still displace a chosen one; ties go by name.

    Args:
        corpus: metadata and files.
        choice: what is asked for.
        verify: decodes clips, and says of each whether it is usable.

    Raises:
        InvalidInput: a split or a gloss is asked for that WLASL does not have.
        NotFound: not one file is there of what is asked for.
    """
    wanted = _wanted(corpus, choice)
    by_gloss: dict[str, list[Instance]] = {}
    for instance in wanted:
        by_gloss.setdefault(instance.gloss, []).append(instance)
    present = {gloss: [clip for clip in clips if corpus.has(clip)] for gloss, clips in by_gloss.items()}
    ranked = sorted((gloss for gloss in present if present[gloss]), key=lambda gloss: (-len(present[gloss]), gloss))
    if not ranked:
        raise NotFound(
            f"{corpus.clips}: has none of the {len(wanted)} clips asked for. Other splits or glosses may be there; "
            "`signet fetch` downloads more."
        )
    limit = choice.max_glosses if choice.max_glosses and not choice.glosses else len(ranked)

    verdicts: dict[Instance, Usable | ClipError] = {}
    chosen: list[tuple[int, str]] = []  # (-usable clips, gloss): sorts as glosses are preferred
    for gloss in ranked:
        if len(chosen) >= limit and chosen[limit - 1] < (-len(present[gloss]), gloss):
            break
        verdicts.update(verify(present[gloss]))
        chosen.append((-sum(isinstance(verdicts[clip], Usable) for clip in present[gloss]), gloss))
        chosen.sort()

    glosses = [gloss for _, gloss in chosen[:limit]]
    # Where the number of glosses was not limited, one without any file was wanted too: all of its clips are missing.
    concerned = set(glosses if limit < len(ranked) else by_gloss)
    return Selection(
        glosses=tuple(glosses),
        clips=tuple(pair for gloss in glosses for pair in _sample(present[gloss], verdicts, choice.samples_per_gloss)),
        broken=tuple(
            (clip, verdict)
            for gloss in glosses
            for clip in present[gloss]
            if isinstance(verdict := verdicts[clip], ClipError)
        ),
        missing=tuple(clip for clip in wanted if clip.gloss in concerned and not corpus.has(clip)),
    )


def check_choice(corpus: Wlasl, choice: Choice) -> None:
    """Refuse what WLASL does not have.

    Raises:
        InvalidInput: a split or a gloss is unknown.
    """
    _check_known("split", choice.splits, SPLITS)
    _check_known("gloss", choice.glosses, {instance.gloss for instance in corpus.instances})


def _wanted(corpus: Wlasl, choice: Choice) -> list[Instance]:
    check_choice(corpus, choice)
    return [
        instance
        for instance in corpus.instances
        if (not choice.splits or instance.split in choice.splits)
        and (not choice.glosses or instance.gloss in choice.glosses)
    ]


def _check_known(kind: str, asked: Iterable[str], known: Iterable[str]) -> None:
    unknown = sorted(set(asked) - set(known))
    if unknown:
        names = sorted(known)
        few = ", ".join(names) if len(names) <= 3 else f"{len(names)} of them, from {names[0]!r} to {names[-1]!r}"
        raise InvalidInput(f"WLASL has no {kind} {', '.join(map(repr, unknown))}. It has {few}.")


def _sample(
    clips: Iterable[Instance], verdicts: Mapping[Instance, Usable | ClipError], limit: int
) -> list[tuple[Instance, Usable]]:
    """The first `limit` usable clips in the order of their hashed ids: the same ones every time, of any split."""
    usable = [(clip, verdict) for clip in clips if isinstance(verdict := verdicts[clip], Usable)]
    if limit and len(usable) > limit:
        usable = sorted(usable, key=lambda pair: hashlib.sha256(pair[0].video_id.encode()).digest())[:limit]
    return sorted(usable, key=lambda pair: pair[0].video_id)
