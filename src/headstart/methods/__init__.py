"""Methods: how knowledge moves, one method a file."""
