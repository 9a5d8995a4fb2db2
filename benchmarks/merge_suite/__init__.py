"""Thirty-seven merges and deletes, each on the table that the one before left, against an oracle."""
