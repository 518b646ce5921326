"""Steps on their way: queue, hand-outs, agents, what is reported, why one waits."""
