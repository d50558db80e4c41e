"""Callback jobs: HTTP endpoints, in any language, that are called as jobs."""
