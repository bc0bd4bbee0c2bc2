"""Who owns which task: facts, the record they add up to, allocation, sessions."""
