"""The policy being trained: its log-probabilities, its optimizer, its checkpoints."""
