"""Groups of clips that show the same recording, by clip id. `signet.datasets.duplicates` finds them by landmarks."""

from collections.abc import Iterable, Sequence


def merge_groups(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Groups that share a clip made one, each sorted, and the groups by their first clip; no group of one."""
    parent: dict[str, str] = {}

    def root(one: str) -> str:
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for group in groups:
        for one in group[1:]:
            parent[root(one)] = root(group[0])
    members: dict[str, list[str]] = {}
    for one in sorted(parent):
        members.setdefault(root(one), []).append(one)
    return tuple(tuple(group) for group in sorted(members.values()))


def with_duplicates(ids: Iterable[str], groups: Iterable[Sequence[str]]) -> frozenset[str]:
    """These clips and all that show what one of them does; groups that share a clip count as one."""
    given = frozenset(ids)
    return given.union(*(group for group in merge_groups(groups) if not given.isdisjoint(group)))
