"""Property tests here: a fixed choice of examples, and no deadline on a busy machine."""

from hypothesis import settings

settings.register_profile("planning", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("planning")
