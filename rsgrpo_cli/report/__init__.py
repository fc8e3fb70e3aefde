"""Tables and figures from what is on disk: reads artifacts only, never runs a model."""
