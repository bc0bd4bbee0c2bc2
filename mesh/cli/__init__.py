"""The mesh command, one module per family of subcommands."""
