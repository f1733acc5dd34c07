"""The Dramatiq actor and broker, the doorbell, and the state of the queue."""
