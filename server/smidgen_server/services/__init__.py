"""What the server does, without HTTP. `container.open_services` builds everything that a request or command needs."""
