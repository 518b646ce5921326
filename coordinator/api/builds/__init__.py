"""Builds: from a workflow to steps, held, cancelled, tried again, listed, deleted."""
