"""Bitbucket Pipelines."""
