"""Self-contained studies of the estimators, without a language model."""
