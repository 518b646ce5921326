"""Count lines."""


def count(text: str) -> int:
    r"""
    >>> count("one\ntwo\n")
    2
    """
    return len(text.splitlines())
