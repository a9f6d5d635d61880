"""The bundled model of the toy world: its parts, their pretraining, their measures."""
