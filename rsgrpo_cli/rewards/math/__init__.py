"""The rules by which a mathematical answer is right."""
