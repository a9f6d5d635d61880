"""The commands of ``adb``, a file a group: parse, call, print."""
