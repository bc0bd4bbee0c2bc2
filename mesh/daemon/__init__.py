"""A node on a real machine: Trio turns effects into sockets, files and processes."""
