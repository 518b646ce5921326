"""E-mail by the operator's mail server.

smtplib blocks, so it has threads of its own: a mail server that stalls holds up e-mail alone.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.ports import RemoteFailed

ANSWER_SECONDS = 20.0
THREADS = 2
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
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="mail")
    )

    async def send(self, address: str, subject: str, text: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._send, address, subject, text)

    def _send(self, address: str, subject: str, text: str) -> None:
        import smtplib

        try:
            self._deliver(address, subject, text)
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            words = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            message = f"the mail server answers {error.smtp_code}: {' '.join(words.split())[:200]}"
            raise RemoteFailed(message, permanent=error.smtp_code >= 500) from error
        except smtplib.SMTPRecipientsRefused as error:
            code = min(code for code, _ in error.recipients.values())
            message = f"the mail server does not take {address}: {code}"
            raise RemoteFailed(message, permanent=code >= 500) from error
        except smtplib.SMTPNotSupportedError as error:
            raise RemoteFailed(f"the mail server: {error}", permanent=True) from error
        except (smtplib.SMTPException, OSError) as error:
            message = f"the mail server can't be reached: {type(error).__name__}"
            raise RemoteFailed(message, permanent=False) from error

    def _deliver(self, address: str, subject: str, text: str) -> None:
        """Blocking."""
        import smtplib
        import ssl
        from email.message import EmailMessage
        from email.utils import formatdate

        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.server.sender, address, subject
        message["Date"] = formatdate()
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        host, _, port = self.server.server.partition(":")
        at = (host, int(port) if port else PORTS[self.server.encryption])
        context = ssl.create_default_context()
        encrypted = self.server.encryption == "tls"
        with (
            smtplib.SMTP_SSL(*at, timeout=ANSWER_SECONDS, context=context)
            if encrypted
            else smtplib.SMTP(*at, timeout=ANSWER_SECONDS)
        ) as smtp:
            if self.server.encryption == "starttls":
                smtp.starttls(context=context)
            if self.server.user is not None and self.server.password_file is not None:
                smtp.login(self.server.user, self.server.password_file.read_text().strip())
            smtp.send_message(message)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
