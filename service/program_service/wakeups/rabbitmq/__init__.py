"""RabbitMQ: quorum queues, persistent messages, confirms; the broker for several processes.

topology      the names and arguments of queues, and the form of messages
link          one connection that is opened when needed, and given up when it fails
publisher     wake-ups go out, confirmed
subscription  wake-ups come in, whatever happens to the connection
broker        the driver: the three together
"""
