"""What real videos go through before they are clips: scenes, faces, measures, sound, identity."""
