"""Which source, and which of its layers: ranked by frozen features of a sample before anything is trained."""
