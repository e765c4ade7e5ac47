"""Rig-free faces: places on the surface instead of coefficients."""
