"""Whether what is written reads back as it was: `fuzz.py ROUNDS`."""

import random
import sys

from spans import read, written

rounds = int(sys.argv[1])
for seed in range(rounds):
    source = random.Random(seed)
    numbers = {source.randrange(40) for _ in range(source.randrange(30))}
    assert read(written(numbers)) == numbers, f"seed {seed}: {sorted(numbers)}"
print(f"{rounds} rounds")
