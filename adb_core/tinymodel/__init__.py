"""The bundled model of the toy world: what its parts are, and how well they do."""
