"""Badges and the feed: what they show, and to whom."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tests.integration.coordinator_fixture import open_coordinator

ATOM = "{http://www.w3.org/2005/Atom}"


async def test_badges_and_feed_are_for_everybody_only_where_the_project_says_so(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin, nobody = coordinator.admin, coordinator.nobody
        project, agent = await admin.new_project(), await admin.new_agent()
        base = f"/api/projects/{project['id']}"
        build = await admin.new_build(project, branch="main")
        (await agent.complete(await agent.take(), status="failed", exitCode=3)).expect(200)

        pages = (f"{base}/badge.svg?branch=main", f"{base}/builds.atom")
        unknown = pages[0].replace(project["id"], "11111111-1111-1111-1111-111111111111")
        for path in (*pages, unknown):
            assert (await nobody.get(path)).status == 401
        assert ">failing<" in (await admin.get(pages[0])).expect(200).text

        changed = await admin.call("PATCH", base, json={"publicBadges": True})
        assert changed.expect(200).json["publicBadges"] is True
        badge = (await nobody.get(pages[0])).expect(200)
        assert badge.headers["Content-Type"].startswith("image/svg+xml")
        assert "no-cache" in badge.headers["Cache-Control"]
        assert ElementTree.fromstring(badge.text).attrib["aria-label"] == "build: failing"
        other = await nobody.get(f"{base}/badge.svg?branch=main&workflow=%3Cscript%3E")
        svg = ElementTree.fromstring(other.expect(200).text)
        assert svg.attrib["aria-label"] == "<script>: no builds"

        feed = ElementTree.fromstring((await nobody.get(pages[1])).expect(200).text)
        [entry] = feed.findall(f"{ATOM}entry")
        title = entry.find(f"{ATOM}title")
        assert title is not None
        assert title.text == "ci #1 on main: test failed: exit code 3"
        links = [link.attrib["href"] for link in entry.findall(f"{ATOM}link")]
        assert links == [f"{coordinator.url}/builds/{build['id']}"]
        assert (await nobody.get(unknown)).status == 401
