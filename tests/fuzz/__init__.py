"""Inputs of `tests.faults.mutation` given to everything that reads what a stranger wrote."""
