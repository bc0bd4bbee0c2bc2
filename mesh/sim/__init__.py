"""Many nodes in one process under a seed, in virtual time."""
