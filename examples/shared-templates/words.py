"""Count words: `python3 words.py < FILE`."""

import sys


def count(text: str) -> int:
    """
    >>> count("one two  three")
    3
    """
    return len(text.split())


if __name__ == "__main__":
    print(count(sys.stdin.read()), "words")
