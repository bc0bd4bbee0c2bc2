"""Signatures, link keys and sealing; every key comes in as an argument."""
