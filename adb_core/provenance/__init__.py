"""Where a picture comes from, and what can be said of it later: metadata, watermark, consent.

record       what a generated picture's file says of its origin, and the one function that writes it
inspection   reading it back, ``adb inspect``
watermark    a mark in the pixels, which only its key finds
credentials  signed metadata, C2PA, by the optional package c2pa-python
consent      what ``concept.json`` says of the photos: who is shown, who gave them, who agreed
"""

from .inspection import Inspection, InspectionError, inspect_file
from .record import Provenance, save_generated, stamped

__all__ = [
    "Inspection",
    "InspectionError",
    "Provenance",
    "inspect_file",
    "save_generated",
    "stamped",
]
