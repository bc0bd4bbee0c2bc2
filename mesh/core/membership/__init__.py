"""Who is here: fixed observers probe, accuse, vouch and vote."""
