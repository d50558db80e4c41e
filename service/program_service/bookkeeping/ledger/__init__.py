"""The ledger: every statement on the tables, a verb each; it never commits.

Each verb takes `Books`, an open transaction, and works on a whole batch. Which new facts a row gets
is decided in `lifecycle`; the statements here only carry them out, fenced.
"""
