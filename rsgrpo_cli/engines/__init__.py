"""Samplers: token ids in, token ids with their log-probabilities out.

`open_engine` imports only the engine that is asked for.
"""
