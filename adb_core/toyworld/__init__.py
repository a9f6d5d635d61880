"""The drawn world behind the bundled model: scenes, captions, pictures and masks. No torch."""
