"""What survives a crash: the SQLite log, the key file, the boot counter."""
