"""What can run a frozen network: one backend a file, and the search among them (`search`)."""
