"""An Atom feed (RFC 4287) of a project's builds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from coordinator.domain.lifecycle import FINISHED_BUILD
from coordinator.domain.model import Build, Project
from coordinator.domain.outbox.badges import printable
from coordinator.domain.outbox.messages import facts_of


def atom(project: Project, builds: Sequence[Build], base_url: str, feed_url: str) -> str:
    """Of those that have ended, newest first."""
    ended = [build for build in builds if build.state in FINISHED_BUILD]
    updated = max((_ended_at(build) for build in ended), default=project.created_at)
    name = f"{project.account_slug}/{project.slug}"
    return "\n".join(
        (
            '<?xml version="1.0" encoding="utf-8"?>',
            '<feed xmlns="http://www.w3.org/2005/Atom">',
            f"<id>urn:uuid:{project.id}</id>",
            f"<title>{escape(printable(f'{name}: builds'))}</title>",
            f"<updated>{_instant(updated)}</updated>",
            f"<author><name>{escape(printable(name))}</name></author>",
            f'<link rel="self" href={quoteattr(feed_url)}/>',
            f"<link href={quoteattr(f'{base_url}/projects/{project.id}')}/>",
            *(_entry(build, base_url) for build in ended),
            "</feed>",
            "",
        )
    )


def _entry(build: Build, base_url: str) -> str:
    facts = facts_of(build)
    at = build.tag or build.branch
    on = f" on {at}" if at else ""
    title = f"{build.workflow_name} #{build.number}{on}: {facts.words}"
    return (
        f"<entry><id>urn:uuid:{build.id}</id><title>{escape(printable(title))}</title>"
        f"<updated>{_instant(_ended_at(build))}</updated>"
        f"<link href={quoteattr(f'{base_url}/builds/{build.id}')}/>"
        f"<category term={quoteattr(facts.status.value)}/></entry>"
    )


def _ended_at(build: Build) -> datetime:
    return build.finished_at or build.updated_at


def _instant(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
