"""Commands of `program-executor`, by what they are about."""
