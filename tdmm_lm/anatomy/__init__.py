"""The bundled head's body plan, in code: every vertex is a point on the unit sphere on which mouth and eyes stand open.

`sphere` names the places, `topology` lays the skin's vertices and triangles over it, `fields` moves them by smooth
fields that control points carry, `parts` adds eyeballs, teeth, tongue, brows and colours.
"""
