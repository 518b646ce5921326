import unittest

from greeting import greeting


class Greeting(unittest.TestCase):
    def test_somebody_is_greeted_by_name(self):
        self.assertEqual(greeting("Ada"), {"greeting": "hello, Ada"})

    def test_nobody_is_the_world(self):
        self.assertEqual(greeting(""), {"greeting": "hello, world"})
