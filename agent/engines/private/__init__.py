"""The machine's private engine: a dockerd of its own, and images made without a registry.

Everything is imported on first use: `status` and a second `up` needn't load an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.engines.private.engine import down, status, up
    from agent.engines.private.errors import (
        EngineBusyError,
        EngineError,
        EngineStartError,
        EngineUnresponsiveError,
        ImageError,
        PackagesUnavailableError,
        UnsupportedMachineError,
    )
    from agent.engines.private.images import (
        builder_variant,
        ensure_base_image,
        ensure_docker_image,
        ensure_python_images,
        ensure_service_images,
        ensure_test_image,
        image_digest,
    )
    from agent.engines.private.places import EnginePlaces, engine_places
    from agent.engines.private.record import EngineAddress, EngineKind, EngineStatus

__all__ = [
    "EngineAddress",
    "EngineBusyError",
    "EngineError",
    "EngineKind",
    "EnginePlaces",
    "EngineStartError",
    "EngineStatus",
    "EngineUnresponsiveError",
    "ImageError",
    "PackagesUnavailableError",
    "UnsupportedMachineError",
    "builder_variant",
    "down",
    "engine_places",
    "ensure_base_image",
    "ensure_docker_image",
    "ensure_python_images",
    "ensure_service_images",
    "ensure_test_image",
    "image_digest",
    "status",
    "up",
]

_MODULES = {
    **dict.fromkeys(("down", "status", "up"), "engine"),
    **dict.fromkeys(
        (
            "builder_variant",
            "ensure_base_image",
            "ensure_docker_image",
            "ensure_python_images",
            "ensure_service_images",
            "ensure_test_image",
            "image_digest",
        ),
        "images",
    ),
    **dict.fromkeys(("EnginePlaces", "engine_places"), "places"),
    **dict.fromkeys(("EngineAddress", "EngineKind", "EngineStatus"), "record"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    return getattr(module, name)
