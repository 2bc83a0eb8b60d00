"""HTTP: each module has a `router`; a route parses, calls one service and shapes the answer."""
