"""How facts spread: push, eager and lazy gossip, range reconciliation."""
