"""Endpoint check: play the worker and the service against somebody's endpoint."""
