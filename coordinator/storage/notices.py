"""Words from one coordinator to another, by PostgreSQL's LISTEN and NOTIFY.

Nothing rests on them: one that is lost costs time. Blocking, each for one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from coordinator.storage.postgresql import QUICK_CONNECTION, PostgresPlace, engine_of, words_of

LOOK_SECONDS = 1.0
"""How soon it is seen that nobody listens any more."""
_NOTIFY = sa.text("SELECT pg_notify(:channel, :text)")


class NoticesLost(Exception):
    """The database did not take them, or does not give them; the message says why."""


class NoticeSender:
    """`close` it."""

    def __init__(self, place: PostgresPlace, channel: str) -> None:
        self._engine = engine_of(place, isolation_level="AUTOCOMMIT", connection=QUICK_CONNECTION)
        self._channel = channel

    def send(self, *texts: str) -> None:
        """Raises NoticesLost."""
        try:
            with self._engine.connect() as connection:
                for text in texts:
                    connection.execute(_NOTIFY, {"channel": self._channel, "text": text})
        except DBAPIError as error:
            raise NoticesLost(words_of(error)) from error

    def close(self) -> None:
        self._engine.dispose()


def heard(place: PostgresPlace, channel: str, ending: threading.Event) -> Iterator[str | None]:
    """What is told until `ending` is set; None first, once it is listened. Raises NoticesLost."""
    # The channel is a name of ours. Not quick: nothing is said for hours.
    engine = engine_of(place, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"LISTEN {channel}")
            yield None
            driver = connection.connection.driver_connection
            while driver is not None and not ending.is_set():
                for notice in driver.notifies(timeout=LOOK_SECONDS):
                    yield notice.payload
                    if ending.is_set():
                        return
    except (DBAPIError, engine.dialect.loaded_dbapi.Error) as error:
        raise NoticesLost(words_of(error)) from error
    finally:
        engine.dispose()
