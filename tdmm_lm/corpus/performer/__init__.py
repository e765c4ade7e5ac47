"""What a performance is made of: curves of expressions, eyes, head and mouth, and the voice that speaks."""
