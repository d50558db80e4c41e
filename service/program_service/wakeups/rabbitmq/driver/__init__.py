"""Driver: the border to aio-pika and aiormq; no module outside of this package imports them.

errors      what may go wrong, as our own types
frames      what arrives, cleaned before aiormq decodes it
transport   a socket, and calls that raise our own errors, in time
connection  connections, channels and messages, with only what we need
"""
