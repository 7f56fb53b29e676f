"""Pieces of networks and linear algebra that two or more files use."""
