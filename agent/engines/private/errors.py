"""What can go wrong with the machine's private engine, one class per reaction."""


class EngineError(Exception):
    """The engine can't do what was asked; `remedy` is the sentence that says what to do."""

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy


class UnsupportedMachineError(EngineError):
    """No private engine can run here: use another engine, or change the machine."""


class PackagesUnavailableError(EngineError):
    """The engine's parts could not be fetched or don't run: mend the mirror, then repeat."""


class EngineBusyError(EngineError):
    """Another process holds the engine's lock for too long: wait, or end it."""


class EngineStartError(EngineError):
    """The engine did not come up; the message ends with its log's tail."""


class EngineUnresponsiveError(EngineError):
    """The engine's processes live but don't answer: steps may be running, so it is left alone."""


class ImageError(EngineError):
    """An image could not be built, imported or pushed."""
