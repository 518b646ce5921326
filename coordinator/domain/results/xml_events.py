"""XML of outsiders, read as it comes: nothing is kept, nothing is fetched, nothing is expanded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from xml.parsers import expat

from coordinator.domain.results.limits import MAX_DEPTH

Attributes = Mapping[str, str]


class MalformedReport(ValueError):
    """The file can't be read, or not to its end; the text says why, as in `PATH: {error}`."""


class XmlEvents:
    """Tells of each element's begin, end and text. A doctype may stand there, since Cobertura has
    one, but it must not declare anything."""

    def __init__(
        self,
        begin: Callable[[str, Attributes], None],
        end: Callable[[str], None],
        text: Callable[[str], None],
    ) -> None:
        self._begin, self._end = begin, end
        self._depth = 0
        parser = self._parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.specified_attributes = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartElementHandler = self._begun
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = text
        parser.EntityDeclHandler = _refuse
        parser.AttlistDeclHandler = _refuse
        parser.UnparsedEntityDeclHandler = _refuse
        parser.ElementDeclHandler = _refuse

    def feed(self, data: bytes) -> None:
        """Raises MalformedReport; what was told before it was there."""
        self._parse(data, last=False)

    def close(self) -> None:
        """Raises MalformedReport where the document is not whole."""
        self._parse(b"", last=True)

    def _parse(self, data: bytes, *, last: bool) -> None:
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            where = f"line {error.lineno}, column {error.offset + 1}"
            raise MalformedReport(
                f"is not well-formed XML ({expat.ErrorString(error.code)} at {where})"
            ) from error
        except (LookupError, ValueError) as error:
            if type(error) not in (LookupError, ValueError):  # which expat has for encodings
                raise
            raise MalformedReport("is in an encoding that is not known: write UTF-8") from error

    def _begun(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise MalformedReport(f"has elements more than {MAX_DEPTH} deep in one another")
        self._begin(_local(name), attributes)

    def _ended(self, name: str) -> None:
        self._depth -= 1
        self._end(_local(name))


def _local(name: str) -> str:
    """Without the prefix of its namespace."""
    return name.rpartition(":")[2]


def _refuse(*_: Any) -> None:
    raise MalformedReport("declares entities or the like, which is not read: leave the DTD out")
