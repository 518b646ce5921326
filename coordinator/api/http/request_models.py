"""Bodies and queries of requests, read into models; each mistake is told with its place."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from coordinator.api.http.context import CORE
from coordinator.api.http.field_messages import in_words
from coordinator.api.http.unknown_members import note_ignored, refuse_slips
from coordinator.domain import errors
from pipelines_schema.suggestions import closest

Model = TypeVar("Model", bound=BaseModel)

STRANGERS_BYTES = 64 * 1024


def _parse(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_members
        )
    except (ValueError, RecursionError) as error:
        raise errors.Invalid("the body must be JSON (UTF-8)") from error
    if not isinstance(value, dict):
        raise errors.Invalid("the body must be a JSON object")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Of an object. Raises Invalid: of a member that stands there twice, nobody knows which one
    is meant."""
    members = dict(pairs)
    if len(members) < len(pairs):
        [(name, _), *_] = Counter(name for name, _ in pairs).most_common(1)
        problem = {"path": path_of([name[:100]]), "message": "it stands there twice: leave one out"}
        raise errors.Invalid("the request's body breaks its rules", details=[problem])
    return members


def _unstorable(
    value: object, path: tuple[str | int, ...], any_text: Collection[str]
) -> Iterator[dict[str, str]]:
    """What no database can hold: NUL, half surrogate pairs, numbers beyond 64 bits."""
    if isinstance(value, int) and value.bit_length() > 63:
        yield {"path": path_of(path), "message": "this number is out of range"}
    elif isinstance(value, str):
        if "\0" in value:
            yield {"path": path_of(path), "message": "this text holds a NUL character"}
        elif any("\ud800" <= character <= "\udfff" for character in value):
            yield {"path": path_of(path), "message": "this text holds half of a surrogate pair"}
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unstorable(key, path, ())
            if path or key not in any_text:
                yield from _unstorable(item, (*path, key), any_text)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unstorable(item, (*path, index), any_text)


def path_of(parts: Sequence[str | int]) -> str:
    """`("steps", 0, "name")` → `steps[0].name`, as the workflow language writes it."""
    texts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts]
    path = "".join(texts).removeprefix(".")
    return path.encode("utf-8", "backslashreplace").decode()


async def read_body(request: web.Request, *, of_a_stranger: bool = False) -> bytes:
    """The whole of it; of one who has not yet said who he is, no more than that takes.

    Raises TooSlow, TooLarge.
    """
    seconds = request.app[CORE].settings.body_seconds
    try:
        async with asyncio.timeout(seconds):
            return await (_read_small(request) if of_a_stranger else request.read())
    except TimeoutError as error:
        raise errors.TooSlow(f"the body did not come within {seconds:g} s") from error


async def _read_small(request: web.Request) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > STRANGERS_BYTES:
            raise errors.TooLarge(f"without a token a body may have {STRANGERS_BYTES} bytes")
    return bytes(body)


async def read_model(
    request: web.Request,
    model: type[Model],
    *,
    any_text: Collection[str] = (),
    of_a_stranger: bool = False,
) -> Model:
    """The JSON body, in which null is as good as absent where a member may be. Of members that the
    model lets pass though it does not know them, the answer's header tells.

    Those named in `any_text` may hold text that no database can. Raises Invalid, TooSlow.
    """
    body = await read_body(request, of_a_stranger=of_a_stranger)
    members = _parse(body)
    read = validated(model, _without_nulls(model, members), "body")
    _look_at_unknown(request, model, members)
    refuse_unstorable(read, "body", any_text)
    return read


def _look_at_unknown(
    request: web.Request, model: type[BaseModel], members: Mapping[str, object]
) -> None:
    if model.model_config.get("extra") != "ignore":
        return
    known = [field.alias or name for name, field in model.model_fields.items()]
    plain = {*known, *model.model_fields}
    unknown = [name for name, value in members.items() if value is not None and name not in plain]
    if getattr(model, "slips_are_refused", False):
        refuse_slips(unknown, known, "body")
    note_ignored(request, unknown)


async def read_optional_model(request: web.Request, model: type[Model]) -> Model:
    """As `read_model`; without a body, the model's defaults."""
    return await read_model(request, model) if request.can_read_body else model()


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The query's parameters; what the model does not know may be repeated. Raises Invalid."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    refuse_repeated(request, names)
    read = validated(model, {name: request.query[name] for name in request.query}, "query")
    refuse_unstorable(read, "query", ())
    return read


def refuse_repeated(request: web.Request, names: Iterable[str]) -> None:
    """Raises Invalid where the query has one of them twice."""
    message = "it stands there twice: leave one out"
    repeated = [name for name in names if len(request.query.getall(name, ())) > 1]
    if repeated:
        details = [{"path": name, "message": message} for name in repeated]
        raise errors.Invalid("the request's query breaks its rules", details=details)


def _without_nulls(model: type[BaseModel], members: Mapping[str, object]) -> dict[str, object]:
    optional = {
        key
        for name, field in model.model_fields.items()
        if not field.is_required()
        for key in (name, field.alias)
    }
    return {
        name: value for name, value in members.items() if value is not None or name not in optional
    }


def refuse_unstorable(read: BaseModel, part: str, any_text: Collection[str] = ()) -> None:
    """Raises Invalid, naming each text and number that no database can hold."""
    problems = list(_unstorable(read.model_dump(by_alias=True), (), any_text))
    if problems:
        raise errors.Invalid(f"the request's {part} breaks its rules", details=problems)


def _explain(model: type[BaseModel], problem: ErrorDetails) -> str:
    if problem["type"] != "extra_forbidden":
        return in_words(problem)
    if len(problem["loc"]) > 1:
        return "there is no such field: leave it out"
    known = [field.alias or name for name, field in model.model_fields.items()]
    near = closest(str(problem["loc"][0]), known)
    return f"there is no such field: {f'did you mean {near!r}?' if near else 'leave it out'}"


def validated(model: type[Model], value: object, part: str) -> Model:
    """Raises Invalid, naming each wrong field of this part of the request."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = [
            {"path": path_of(problem["loc"]), "message": _explain(model, problem)}
            for problem in error.errors(include_url=False)
        ]
    raise errors.Invalid(f"the request's {part} breaks its rules", details=details)
