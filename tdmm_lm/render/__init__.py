"""Clip -> frames. Every other file is one renderer."""
