"""Commands of the CLI that have a file of their own; ``cli.py`` registers each by one line. Imports here stay light."""
