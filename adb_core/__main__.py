"""``python -m adb_core`` is the command line ``adb``."""

from .app.cli import main

if __name__ == "__main__":
    main()
