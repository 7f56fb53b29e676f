"""Rankers: how well a source's features suit a target, before anything is trained; one score a file."""
