"""Webhooks: signed calls to addresses that users name, and only to those that may be called."""
