"""Bookkeeping: the truth about every program, and the only place where SQL is written."""
