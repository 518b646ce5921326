"""Summaries in Markdown: HTML in them stays text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.results.limits import MAX_SUMMARY_BYTES
from coordinator.domain.results.read_files import read_all
from coordinator.domain.results.summary import read_summary
from coordinator.domain.results.values import ReportKind

TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "blockquote", "em", "strong"),
    *("s", "a", "table", "thead", "tbody", "tr", "th", "td", "br", "hr", "code", "pre"),
}


def element(tag: str, *children: Any, **more: str) -> dict[str, Any]:
    return {"tag": tag, "children": list(children), **more}


def test_markdown_becomes_elements() -> None:
    text = b"# Size\n\n| file | KiB |\n|:--|--:|\n| a.js | **12** |\n\n- one `x`\n- two\n\n---\n"
    assert read_summary(text) == [
        element("h1", "Size"),
        element(
            "table",
            element(
                "thead",
                element(
                    "tr", element("th", "file", align="left"), element("th", "KiB", align="right")
                ),
            ),
            element(
                "tbody",
                element(
                    "tr",
                    element("td", "a.js", align="left"),
                    element("td", "", element("strong", "12"), "", align="right"),
                ),
            ),
        ),
        element("ul", element("li", "one ", element("code", "x")), element("li", "two")),
        element("hr"),
    ]


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<!-- a --><b>b</b>",
        "<svg/onload=a>",
    ],
)
def test_html_is_text(html: str) -> None:
    assert read_summary(f"a {html}".encode()) == [element("p", f"a {html}")]
    (alone,) = read_summary(html.encode())
    assert alone == element("p", html)


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "data:text/html,x", "/api/session", "//evil.example", "x.md"]
)
def test_a_link_to_anything_but_another_server_is_its_text(target: str) -> None:
    said = json.dumps(read_summary(f"[a]({target})".encode()))
    assert "href" not in said
    assert '"a"' in said or "[a]" in said


def test_links_lead_to_servers_and_images_are_their_texts() -> None:
    text = b"[a](https://example.org/?x=1) ![pic](https://example.org/t.png) <https://e.org>"
    (paragraph,) = read_summary(text)
    assert element("a", "a", href="https://example.org/?x=1") in paragraph["children"]
    assert "pic" in paragraph["children"]
    assert "t.png" not in json.dumps(paragraph)


def test_a_long_summary_is_cut_at_a_line_and_that_is_said() -> None:
    content = b"word\n" * MAX_SUMMARY_BYTES
    results = read_all([(ReportKind.SUMMARY, "s.md", iter([content]))])
    assert results.warnings == ["reports: s.md is long: only its first 64 KiB are shown"]
    assert results.summary is not None
    (paragraph,) = results.summary
    assert len(paragraph["children"]) < MAX_SUMMARY_BYTES  # type: ignore[call-overload,index]


def check(node: Any) -> None:
    if isinstance(node, str):
        return
    assert node["tag"] in TAGS
    assert node.keys() <= {"tag", "children", "href", "align"}
    assert node.get("href", "http").lower().startswith(("http", "mailto:"))
    for child in node["children"]:
        check(child)


@given(
    st.text(st.sampled_from("#*_`[]()<>!|-:\n \\&;~ahttps./\0é0\"'"), max_size=200) | st.binary()
)
def test_nothing_but_known_elements_comes_of_any_text(text: str | bytes) -> None:
    for node in read_summary(text.encode() if isinstance(text, str) else text):
        check(node)
