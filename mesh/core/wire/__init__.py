"""Bytes on the network: canonical encoding, signed envelopes, link frames."""
