"""Datasets: a path becomes typed columns in Arrow; one format a file."""
