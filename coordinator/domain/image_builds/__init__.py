"""PURE: from source files to the image that is built of them: language, Dockerfile, name, cause."""

from __future__ import annotations

from coordinator.domain.image_builds.cause import build_failure
from coordinator.domain.image_builds.dockerfile import Bases, Mirrors
from coordinator.domain.image_builds.languages import Language
from coordinator.domain.image_builds.plan import ImagePlan, ImageRequest, plan_image
from coordinator.domain.image_builds.refusal import Refusal, RefusedSources

__all__ = [
    "Bases",
    "ImagePlan",
    "ImageRequest",
    "Language",
    "Mirrors",
    "Refusal",
    "RefusedSources",
    "build_failure",
    "plan_image",
]
