"""What is asked of endpoints that others run: patience, budgets, kept answers; paraphrases and descriptions."""
