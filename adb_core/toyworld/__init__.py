"""The bundled world: small drawn scenes, the captions that describe them, and the tiny model trained on them."""
