"""uvicorn's protocols with limits, the listening socket, and a graceful stop."""
