"""Groups of clips, by clip id. The duplicates that `signet.datasets.duplicates` finds are joined to groups here."""

from collections.abc import Iterable, Sequence


def merge_groups(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Merge groups that have a clip in common (union-find).

    Returns:
        The merged groups of two clips or more, each sorted, in the order of their first clips.
    """
    parent: dict[str, str] = {}

    def root(clip_id: str) -> str:
        while parent.setdefault(clip_id, clip_id) != clip_id:
            parent[clip_id] = parent[parent[clip_id]]
            clip_id = parent[clip_id]
        return clip_id

    for group in groups:
        for clip_id in group[1:]:
            parent[root(clip_id)] = root(group[0])
    merged: dict[str, list[str]] = {}
    for clip_id in sorted(parent):
        merged.setdefault(root(clip_id), []).append(clip_id)
    return tuple(tuple(group) for group in sorted(merged.values()))


def with_duplicates(ids: Iterable[str], groups: Iterable[Sequence[str]]) -> frozenset[str]:
    """These clips and all clips of the groups that they are in; groups with a clip in common count as one."""
    given = frozenset(ids)
    return given.union(*(group for group in merge_groups(groups) if not given.isdisjoint(group)))
