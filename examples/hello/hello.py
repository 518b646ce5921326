"""Greets a number by its prime factors: `hello, 30 = 2 x 3 x 5`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from zipfile import Path as ArchivePath
from zipfile import is_zipfile

TABLE = "primes.txt"


def factors(number: int, primes: Iterable[int]) -> list[int]:
    """The prime factors in order; needs the primes up to the number's square root."""
    found = []
    for prime in primes:
        if prime * prime > number:
            break
        while number % prime == 0:
            found.append(prime)
            number //= prime
    return [*found, number] if number > 1 else found


def greeting(number: int, primes: Iterable[int]) -> str:
    return f"hello, {number} = {' x '.join(map(str, factors(number, primes))) or number}"


def read_table() -> list[int]:
    """The table that stands beside this file in the packaged program, or in build/."""
    here = Path(__file__).parent
    packed = ArchivePath(here, TABLE) if is_zipfile(here) else here / "build" / TABLE
    return [int(line) for line in packed.read_text(encoding="ascii").splitlines()]


def main() -> None:
    sys.stdout.write(greeting(int(sys.argv[1]), read_table()) + "\n")


if __name__ == "__main__":
    main()
