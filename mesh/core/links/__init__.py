"""Sealed datagrams and streams between two nodes that know each other's presence."""
