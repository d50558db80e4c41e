"""RabbitMQ: quorum queues, persistent messages, confirms; the broker for several processes.

driver        the border to aiormq: connections and channels that raise our own errors, in time
link, pace    one connection that is opened when needed, and given up when it fails; and when
route         the connection by which a queue is reached: the shared one, unless the queue fails
topology, declarations, messages
              the names and arguments of queues, how they are declared, and what is in a message
publishers, publisher, recovery
              wake-ups go out, confirmed; queues that fail are tried from time to time
consumer, subscription
              wake-ups come in, whatever happens to the connection
control       announcements to all workers
readings, sickness, troubles
              what waits in queues, whether one has to be made again, and what people are shown
broker        the driver: all of it together
"""
