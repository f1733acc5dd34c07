"""What HTTP endpoints share: authentication, problems, multipart forms, content negotiation."""
