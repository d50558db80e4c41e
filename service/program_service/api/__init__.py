"""The HTTP API: what people send, see and steer."""
