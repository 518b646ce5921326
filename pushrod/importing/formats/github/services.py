"""The services of a GitHub job."""

from __future__ import annotations

import re

from pushrod.importing.draft import Value
from pushrod.importing.formats.github.job import Job
from pushrod.importing.ledger import Verdict
from pushrod.importing.services import service_name
from pushrod.importing.waiting import verdict_of, why_waiting

_HEALTH = re.compile(r"--health-cmd[= ]+(?:\"([^\"]+)\"|'([^']+)'|(\S+))")
_NAME = "the script finds it by its name, not at localhost"


def read_services(job: Job) -> None:
    services = job.keys.map("services")
    if services is None:
        return
    for name in services.names:
        keys = services.map(name)
        if keys is None:
            continue
        service: dict[str, Value] = {}
        if image := keys.text("image"):
            service["image"] = job.outside(image)
        if env := {key: job.outside(text) for key, text in keys.variables("env").items()}:
            service["env"] = dict(env)
        options = keys.text("options") or ""
        ports = keys.texts("ports")
        health = _HEALTH.search(options)
        if health:
            service["ready"] = {"exec": health[1] or health[2] or health[3]}
        elif ports and (port := ports[0].split(":")[-1].split("/")[0]).isdigit():
            service["ready"] = {"tcp": int(port)}
        keys.left("volumes", "a service has no folders of its machine")
        keys.changed("credentials", "log the project in once, by `pushrod registry`")
        if verdict_of("services") is Verdict.CARRIED:
            services.changed(name, _NAME)
        job.step.services[service_name(name)] = service
    if services is not None and verdict_of("services") is not Verdict.CARRIED:
        where = job.keys.place("services")
        job.keys.ledger.mark(
            where, "services", verdict_of("services"), why_waiting("services"), job.step.notes
        )
