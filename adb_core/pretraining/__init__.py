"""How the bundled model was made, from nothing: ``python -m adb_core.pretraining``."""
