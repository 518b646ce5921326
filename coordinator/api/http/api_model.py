"""What all models of the API are made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ApiModel(BaseModel):
    """How to check and write one is worked out when it is first used: an idle coordinator is
    smaller by that, and starts sooner."""

    model_config = ConfigDict(defer_build=True)
