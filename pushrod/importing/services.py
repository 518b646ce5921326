"""Services as the language has them: named as hosts, ready when their port is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pushrod.importing.draft import StepDraft, Value

_PORTS = {
    "postgres": 5432,
    "postgis": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "redis": 6379,
    "valkey": 6379,
    "memcached": 11211,
    "mongo": 27017,
    "rabbitmq": 5672,
    "elasticsearch": 9200,
    "opensearch": 9200,
    "nats": 4222,
    "minio": 9000,
    "selenium": 4444,
}
"""Of well-known images, whose other systems wait for what the image exposes."""


def service_name(name: str) -> str:
    """A service is named as a host is."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[:63].strip("-") or "service"


def complete_services(step: StepDraft) -> bool:
    """Says when well-known services are ready; whether one is privileged."""
    privileged = False
    for name, service in step.services.items():
        if not isinstance(service, Mapping):
            continue
        kept: dict[str, Value] = dict(service)
        image = str(kept.get("image", "")).rsplit("/", 1)[-1].partition(":")[0]
        if "ready" not in kept and image in _PORTS:
            kept["ready"] = {"tcp": _PORTS[image]}
        privileged = privileged or bool(kept.get("privileged"))
        step.services[name] = kept
    return privileged
