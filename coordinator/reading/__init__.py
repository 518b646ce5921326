"""Outsiders' text is read in processes of their own, which can be ended (docs/adr/0020)."""
