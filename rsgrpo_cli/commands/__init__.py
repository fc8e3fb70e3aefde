"""The commands: a signature, a configuration, one call into the pipeline, one printed result."""
