"""The rules of a node: no sockets, clocks, files or randomness of their own."""
