"""Files from outside: what they are, where they come from, whether they are there and whole."""
