import unittest

from hello import factors, greeting, read_table
from primes import primes_below


class Primes(unittest.TestCase):
    def test_the_first_primes_are_found(self):
        self.assertEqual(primes_below(20), [2, 3, 5, 7, 11, 13, 17, 19])

    def test_nothing_is_prime_below_two(self):
        self.assertEqual(primes_below(2), [])

    def test_the_prepared_table_is_whole(self):
        table = read_table()
        self.assertEqual(len(table), 148933)  # primes below two million
        self.assertEqual(table[-1], 1999993)


class Greeting(unittest.TestCase):
    def test_factors_multiply_to_the_number(self):
        self.assertEqual(factors(2310, primes_below(100)), [2, 3, 5, 7, 11])

    def test_a_repeated_factor_is_repeated(self):
        self.assertEqual(factors(72, primes_below(100)), [2, 2, 2, 3, 3])

    def test_one_has_no_factors(self):
        self.assertEqual(greeting(1, primes_below(10)), "hello, 1 = 1")


if __name__ == "__main__":
    unittest.main()
