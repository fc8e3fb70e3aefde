"""Pure mathematics in float64 numpy: no files, no configuration, no torch (except `losses`)."""
