"""`python -I -S asks_for_fork.py SOCKET WORD…`: runs `pushrod WORD…` by `forked_program.py`.

It imports what an interpreter has at hand: its start is what a command costs beside its work.
"""

import _signal  # of `signal`, without the enumerations
import _socket  # of `socket`, likewise
import os
import sys

TOLD = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)


def main() -> None:
    asked = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    asked.connect(sys.argv[1])

    def tell(number: int, _frame: object) -> None:
        asked.send(bytes([number]))

    words = sys.argv[2:]
    variables = [f"{name}={text}" for name, text in os.environ.items()]
    message = "\0".join([str(len(words)), os.getcwd(), *words, *variables])
    descriptors = b"".join(n.to_bytes(4, sys.byteorder) for n in (0, 1, 2))
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)
    asked.sendmsg([os.fsencode(message)], [rights])
    for number in TOLD:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, tell)
    code = int(asked.recv(64))
    if code < 0:
        _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
