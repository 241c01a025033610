"""Addresses of clips: grouped by video, and shown without secrets."""

import pytest

from services.extractor.fetching.links import LinkKind, group_links, redact
from services.extractor.sources.instances import Instance


def instance(clip_id: str, url: str) -> Instance:
    return Instance(clip_id, "book", "train", "1", 1, -1, url=url)


def test_instances_of_the_same_video_share_a_link() -> None:
    one, two = instance("1", "https://youtu.be/3-GrhsVs830"), instance("2", "http://a.org/b.mp4")
    three = instance("3", "https://www.youtube.com/watch?v=3-GrhsVs830&t=3")
    four = instance("4", " http://a.org/b.mp4#t=2")
    youtube, web = group_links([one, two, three, four])
    assert (youtube.kind, youtube.instances, youtube.stems([three])) == (
        LinkKind.YOUTUBE,
        (one, three),
        ("3-GrhsVs830",),
    )
    assert (web.kind, web.instances, web.stems([four])) == (LinkKind.HTTP, (two, four), ("4",))
    assert (youtube.host, web.host) == ("www.youtube.com", "a.org")
    assert youtube.key != web.key


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://www.aslpro.com/main/b/book.swf", LinkKind.FLASH),
        ("http://a.org/b.SWF?x=1", LinkKind.FLASH),
        ("https://a.org/b%20c.mp4", LinkKind.HTTP),
        ("", LinkKind.NONE),
        ("file:///etc/passwd", LinkKind.NONE),
        ("ftp://a.org/b.mp4", LinkKind.NONE),
        ("http://", LinkKind.NONE),
        ("http://[::1", LinkKind.NONE),
        ("http://user:password@a.org:99999/b.mp4", LinkKind.NONE),
        ("b.mp4", LinkKind.NONE),
    ],
)
def test_the_kind_of_a_link_follows_from_its_address(url: str, kind: LinkKind) -> None:
    (link,) = group_links([instance("1", url)])
    assert link.kind is kind


def test_instances_without_an_address_have_links_of_their_own() -> None:
    assert len({link.key for link in group_links([instance("1", ""), instance("2", "")])}) == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@a.org:8080/b.mp4#x", "https://a.org:8080/b.mp4"),
        ("https://a.org/b?X-Amz-Signature=abc&part=1", "https://a.org/b?X-Amz-Signature=***&part=1"),
        ("https://a.org/b?token=abc", "https://a.org/b?token=***"),
        ("https://www.youtube.com/watch?v=3-GrhsVs830", "https://www.youtube.com/watch?v=3-GrhsVs830"),
        ("http://[::1", "***"),
    ],
)
def test_an_address_is_shown_without_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown
