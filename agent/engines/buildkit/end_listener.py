"""A program of 200 bytes that waits, within a step's container, until its script is to end. Pure.

An image need not have anything that can connect to a socket: bash can't. So we bring this:

    connect to the socket; read a byte; exit with 0 if there was one, else with another code

It is put together here, for there is nothing in it but four calls of the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

LOADED_AT = 0x400000
HEADERS_BYTES = 64 + 56
PATH_BYTES = 108
AF_UNIX = 1


@dataclass(frozen=True, slots=True)
class Machine:
    number: int
    """In an ELF header."""
    code: bytes
    """Followed by the socket's address."""


_X86_64 = bytes.fromhex(
    "b829000000"  # mov eax, 41 (socket)
    "bf01000000"  # mov edi, 1  (AF_UNIX)
    "be01000000"  # mov esi, 1  (SOCK_STREAM)
    "31d2"  # xor edx, edx
    "0f05"  # syscall
    "89c3"  # mov ebx, eax
    "b82a000000"  # mov eax, 42 (connect)
    "89df"  # mov edi, ebx
    "488d3521000000"  # lea rsi, [the end of the code]
    "ba6e000000"  # mov edx, 110
    "0f05"  # syscall
    "31c0"  # xor eax, eax (read)
    "89df"  # mov edi, ebx
    "4889e6"  # mov rsi, rsp
    "ba01000000"  # mov edx, 1
    "0f05"  # syscall
    "89c7"  # mov edi, eax
    "83f701"  # xor edi, 1
    "b83c000000"  # mov eax, 60 (exit)
    "0f05"  # syscall
)
_AARCH64 = struct.pack(
    "<18I",
    0xD2800020,  # mov x0, 1 (AF_UNIX)
    0xD2800021,  # mov x1, 1 (SOCK_STREAM)
    0xD2800002,  # mov x2, 0
    0xD28018C8,  # mov x8, 198 (socket)
    0xD4000001,  # svc 0
    0xAA0003F3,  # mov x19, x0
    0x10000181,  # adr x1, the end of the code: 48 bytes on
    0xD2800DC2,  # mov x2, 110
    0xD2801968,  # mov x8, 203 (connect)
    0xD4000001,  # svc 0
    0xAA1303E0,  # mov x0, x19
    0x910003E1,  # mov x1, sp
    0xD2800022,  # mov x2, 1
    0xD28007E8,  # mov x8, 63 (read)
    0xD4000001,  # svc 0
    0xD2400000,  # eor x0, x0, 1
    0xD2800BA8,  # mov x8, 93 (exit)
    0xD4000001,  # svc 0
)
MACHINES: Mapping[str, Machine] = {
    "amd64": Machine(62, _X86_64),
    "arm64": Machine(183, _AARCH64),
}
"""By the name of a platform's architecture."""


def end_listener(architecture: str, socket_path: str) -> bytes | None:
    """The program's file; None for an architecture that it isn't written for."""
    machine = MACHINES.get(architecture)
    if machine is None:
        return None
    address = struct.pack(f"<H{PATH_BYTES}s", AF_UNIX, socket_path.encode())
    body = machine.code + address
    return _headers(machine.number, HEADERS_BYTES + len(body)) + body


def _headers(machine: int, size: int) -> bytes:
    """Of an ELF file for 64 bits, little end first, all of it loaded as one segment."""
    header = b"\x7fELF" + bytes([2, 1, 1]).ljust(12, b"\0")
    header += struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, LOADED_AT + HEADERS_BYTES, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack(
        "<IIQQQQQQ", 1, 5, 0, LOADED_AT, LOADED_AT, size, size, 0x10000
    )  # loaded, read and executed
    return header + segment
