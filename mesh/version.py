"""The version of mesh, written here: to look up what is installed takes a tenth of a start."""

VERSION = "0.1.0"
