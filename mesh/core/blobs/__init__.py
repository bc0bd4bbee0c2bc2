"""What is too large for a fact: named by the hash of its content, and fetched when it is needed."""
