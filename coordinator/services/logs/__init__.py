"""Logs: of a step, of a build, live and whole."""
