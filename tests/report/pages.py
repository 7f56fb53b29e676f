"""A page as a browser's parser sees it, and what must hold for every page that Headstart writes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input", "area", "base", "col", "embed", "source", "track", "wbr"}
LOADS = {"src", "href", "xlink:href", "srcset", "data", "action", "formaction", "poster", "background", "ping"}
FORBIDDEN = {"script", "iframe", "object", "embed", "link", "base", "form", "audio", "video", "foreignobject"}


class Page(HTMLParser):
    """tags: (name, attributes) in order. text: what is read, without the stylesheet. styles: the stylesheet."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text, self.styles = "", ""
        self.feed(source)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element called ``tag``."""
        return [attributes for name, attributes in self.tags if name == tag]

    def check_inert(self) -> None:
        """No script, no handler, nothing that loads from anywhere, no id twice."""
        ids: list[str] = []
        for tag, attributes in self.tags:
            assert tag not in FORBIDDEN, tag
            for key, value in attributes.items():
                value = value or ""
                assert not key.startswith("on"), (tag, key)
                if key in LOADS:
                    assert value.startswith(("#", "data:image/png;base64,")), (tag, key, value)
                for target in re.findall(r"url\(([^)]*)\)", value):
                    assert target.startswith("#"), (tag, key, target)
                if key == "id":
                    ids.append(value)
        assert len(ids) == len(set(ids))
        for _, attributes in self.tags:
            for value in attributes.values():
                for target in re.findall(r"url\(#([^)]*)\)", value or ""):
                    assert target in ids
        assert "url(" not in self.styles and "@import" not in self.styles
