"""rsgrpo: fine-tune a language model with Risk-Sensitive GRPO and measure what that does to pass@k."""

__version__ = "0.1.0"
