"""Reads a page strictly: every element closed in order, every attribute noted."""

import re
from collections import Counter
from html.parser import HTMLParser


class Page(HTMLParser):
    """A page that is whole, and asks nothing of the world.

    Attributes:
        void: elements that need not be closed.
    """

    void = frozenset({"meta", "br", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._note(tag, attributes)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._note(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def _note(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    @property
    def words(self) -> str:
        """Its text as a person reads it."""
        return " ".join(self.text.split())

    def with_class(self, name: str) -> int:
        """How many elements have this class."""
        return sum(key == "class" and name in value.split() for _, key, value in self.attributes)

    def assert_alone(self) -> None:
        """No script, no style, font, picture or link from elsewhere; no figure that is none."""
        assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image"} & set(self.tags)
        refers = {"src", "href", "xlink:href", "srcset", "action"}
        assert all(value.startswith("#") for _, name, value in self.attributes if name in refers)
        assert not any(name.startswith("on") for _, name, _ in self.attributes)
        assert not re.search(r"https?:|@import|url\((?!#)", self.html)
        assert not re.search(r"\b(nan|inf|None)\b", self.text)
        # Of every place that is pointed at there is one, and one only.
        ids = [value for _, name, value in self.attributes if name == "id"]
        pointed_at = {value[1:] for _, name, value in self.attributes if name == "href"}
        assert pointed_at <= set(ids)
        # matplotlib names shapes after what they are: equal names are equal shapes.
        own = Counter(one for one in ids if not re.fullmatch(r"[pmC][0-9a-f_]{10,}", one))
        assert [one for one, count in own.items() if count > 1] == []
