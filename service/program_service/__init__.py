"""The HTTP service: owns the bookkeeping tables and publishes wake-ups."""
