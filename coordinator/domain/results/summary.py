"""A summary in Markdown, as a tree of a few elements: HTML in it is text, and stays it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from coordinator.domain.results.values import Summary

_TAGS = frozenset(
    {
        *(
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "p",
            "ul",
            "ol",
            "li",
            "blockquote",
            "em",
            "strong",
            "s",
        ),
        *("a", "table", "thead", "tbody", "tr", "th", "td"),
    }
)
_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_ALIGNED = re.compile(r"text-align:(left|right|center)")

Element = dict[str, Any]


def read_summary(content: bytes) -> Summary:
    """Elements of `tag`, `children`, and where they have them `href` and `align`; texts are texts.

    Images are their texts, and links lead to other servers or nowhere.
    """
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").replace("\0", "\ufffd")
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    root: list[Any] = []
    _build(markdown.parse(text), [root])
    return root


def _build(tokens: Sequence[Token], open_lists: list[list[Any]]) -> None:
    """Into the innermost of the lists of children that are open."""
    for token in tokens:
        if token.type == "inline":
            _build(token.children or [], open_lists)
        elif token.nesting == 1:
            element = _element(token)
            if element is None:
                open_lists.append(open_lists[-1])
            else:
                open_lists[-1].append(element)
                open_lists.append(element["children"])
        elif token.nesting == -1:
            open_lists.pop()
        else:
            open_lists[-1].append(_leaf(token))


def _element(token: Token) -> Element | None:
    """None for what is no element of ours: its children stand in its place."""
    if token.hidden or token.tag not in _TAGS:
        return None
    element: Element = {"tag": token.tag, "children": []}
    href = token.attrGet("href")
    if token.tag == "a":
        if not isinstance(href, str) or not _LINK.match(href):
            return None
        element["href"] = href
    if aligned := _ALIGNED.fullmatch(str(token.attrGet("style") or "")):
        element["align"] = aligned[1]
    return element


def _leaf(token: Token) -> Element | str:
    match token.type:
        case "softbreak":
            return "\n"
        case "hardbreak":
            return {"tag": "br", "children": []}
        case "hr":
            return {"tag": "hr", "children": []}
        case "code_inline":
            return {"tag": "code", "children": [token.content]}
        case "fence" | "code_block":
            return {"tag": "pre", "children": [token.content]}
        case _:
            return token.content
