import unittest

from shortest import shortest_way

EDGES = {"a": {"b": 7, "c": 2}, "c": {"b": 3, "d": 8}, "b": {"d": 1}}


class ShortestWay(unittest.TestCase):
    def test_a_detour_may_be_shorter(self):
        self.assertEqual(shortest_way(EDGES, "a", "d"), (6, ["a", "c", "b", "d"]))

    def test_the_way_to_the_start_has_no_length(self):
        self.assertEqual(shortest_way(EDGES, "a", "a"), (0, ["a"]))

    def test_a_goal_that_nothing_leads_to_is_not_reached(self):
        self.assertIsNone(shortest_way(EDGES, "d", "a"))
