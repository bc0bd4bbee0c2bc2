"""Pure structures with a join: fingerprints of sets, registers."""
