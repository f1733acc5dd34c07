"""The Dramatiq broker, the doorbell, and the state of the queue."""
