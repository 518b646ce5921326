"""Copies of an installation, made while it runs, and installations made of them."""
