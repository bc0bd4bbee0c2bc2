"""Agents on many machines share out work with no manager."""
