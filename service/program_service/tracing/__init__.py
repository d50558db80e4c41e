"""Tracing: one W3C trace for the life of a program, from its submit to the last call and back."""
