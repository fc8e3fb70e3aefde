"""Worker processes that can be killed at any moment, for work on text that nobody has read."""
