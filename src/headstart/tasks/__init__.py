"""Tasks: what is predicted; head, loss, metric and decode stay together, one task a file."""
