"""The study's configuration, one module per section: a step imports its own and reruns for its own only."""
