"""The workers: they claim programs and run their jobs."""
