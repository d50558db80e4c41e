"""A small shop, whose orders are programs."""
