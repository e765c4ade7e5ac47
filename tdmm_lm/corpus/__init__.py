"""Data sets: made by code, captured, captioned, built. Every file is one step."""
