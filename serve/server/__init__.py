"""uvicorn's protocols with limits, its socket, and its graceful stop."""
