"""The verb for two domains: labels in one, none in the other."""
