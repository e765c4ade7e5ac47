"""Evaluation. Every file is one step."""
