"""Prints the primes below a limit, one a line: the table that hello.py looks things up in."""

import sys


def primes_below(limit: int) -> list[int]:
    """The sieve of Eratosthenes."""
    is_prime = bytearray([1]) * max(limit, 2)
    is_prime[0:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if is_prime[number]:
            multiples = range(number * number, limit, number)
            is_prime[multiples.start :: number] = bytes(len(multiples))
    return [number for number in range(limit) if is_prime[number]]


if __name__ == "__main__":
    sys.stdout.write("\n".join(map(str, primes_below(int(sys.argv[1])))) + "\n")
