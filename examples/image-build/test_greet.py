import unittest

from greet import greeting


class GreetingTest(unittest.TestCase):
    def test_a_name_is_greeted(self):
        self.assertEqual(greeting("Ada"), "Hello, Ada!")

    def test_nobody_is_the_world(self):
        self.assertEqual(greeting(""), "Hello, world!")

    def test_the_version_is_told(self):
        self.assertEqual(greeting("Ada", "1.2"), "Hello, Ada! (greet 1.2)")


if __name__ == "__main__":
    unittest.main()
