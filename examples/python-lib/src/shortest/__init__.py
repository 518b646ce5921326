"""The shortest way through a graph of weighted edges."""

import heapq


def shortest_way(edges, start, goal):
    """Return (length, [start, …, goal]); None where no way leads there.

    `edges` maps each node to a mapping of its neighbours to the lengths of the edges, none below 0.
    """
    queue, done = [(0, [start])], set()
    while queue:
        length, way = heapq.heappop(queue)
        node = way[-1]
        if node == goal:
            return length, way
        if node not in done:
            done.add(node)
            for neighbour, step in edges.get(node, {}).items():
                heapq.heappush(queue, (length + step, [*way, neighbour]))
    return None
