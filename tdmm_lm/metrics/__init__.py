"""Metrics: predicted, reference -> number. Every file is one metric."""
