"""The local control socket: framing, server, clients."""
