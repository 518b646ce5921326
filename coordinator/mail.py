"""E-mail by the operator's mail server. One that stalls holds up e-mail alone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.ports import RemoteFailed

if TYPE_CHECKING:
    from aiosmtplib import SMTP

SEND_SECONDS = 20.0
"""Of a whole mail: a server that sends a byte now and then would never stall."""
AT_ONCE = 2
GOODBYE_SECONDS = 2.0
PORTS = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    server: str
    """HOST[:PORT]."""
    encryption: str
    """`starttls`, `tls` or `none`."""
    sender: str
    user: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Implements ports.Mailer."""

    server: MailServer
    send_seconds: float = SEND_SECONDS
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def send(self, address: str, subject: str, text: str) -> None:
        from aiosmtplib import errors

        try:
            async with self._slots, asyncio.timeout(self.send_seconds):
                await self._deliver(self._mail(address, subject, text))
        except errors.SMTPRecipientsRefused as error:
            code = min(refused.code for refused in error.recipients)
            message = f"the mail server does not take {address}: {code}"
            raise RemoteFailed(message, permanent=code >= 500) from error
        except errors.SMTPResponseException as error:
            words = " ".join(error.message.split())[:200]
            message = f"the mail server answers {error.code}: {words}"
            raise RemoteFailed(message, permanent=error.code >= 500) from error
        except errors.SMTPNotSupported as error:
            raise RemoteFailed(f"the mail server: {error}", permanent=True) from error
        except TimeoutError as error:
            message = f"the mail server took longer than {self.send_seconds:g} s"
            raise RemoteFailed(message, permanent=False) from error
        except (errors.SMTPException, OSError, ValueError) as error:
            message = f"the mail server can't be reached: {type(error).__name__}"
            raise RemoteFailed(message, permanent=False) from error

    def _mail(self, address: str, subject: str, text: str) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.server.sender, address, subject
        mail["Date"] = formatdate()
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text)
        return mail

    async def _deliver(self, mail: EmailMessage) -> None:
        smtp = self._client()
        try:
            await smtp.connect()
            if self.server.user is not None and self.server.password_file is not None:
                password = await asyncio.to_thread(self.server.password_file.read_text)
                await smtp.login(self.server.user, password.strip())
            await smtp.send_message(mail)
            await _say_goodbye(smtp)
        finally:
            smtp.close()

    def _client(self) -> SMTP:
        from aiosmtplib import SMTP

        host, _, port = self.server.server.partition(":")
        encryption = self.server.encryption
        return SMTP(
            hostname=host,
            port=int(port) if port else PORTS[encryption],
            timeout=self.send_seconds,
            use_tls=encryption == "tls",
            start_tls=encryption == "starttls",
        )


async def _say_goodbye(smtp: SMTP) -> None:
    """The mail is taken, whatever becomes of this."""
    from aiosmtplib import SMTPException

    with suppress(SMTPException, OSError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await smtp.quit()
