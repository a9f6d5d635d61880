"""Where a picture comes from, and what can be said of it later: metadata, watermark, consent.

record       what a generated picture's file says of its origin, and the one function that writes it
inspection   reading it back, ``adb inspect``
watermark    a mark in the pixels, which only its key finds
marking      the mark of this project's pictures, whose payload ties the pixels to the metadata
credentials  signed metadata, C2PA, by the optional package c2pa-python
consent      what ``concept.json`` says of the photos: who is shown, who gave them, who agreed
"""

from .consent import Statements
from .credentials import CredentialError, Credentials, read_credentials, signed
from .inspection import Inspection, InspectionError, inspect_file
from .marking import Mark, marked, read_mark
from .record import Provenance, save_generated, stamped
from .watermark import Detection, WatermarkError, capacity, detect, embed

__all__ = [
    "CredentialError",
    "Credentials",
    "Detection",
    "Inspection",
    "InspectionError",
    "Mark",
    "Provenance",
    "Statements",
    "WatermarkError",
    "capacity",
    "detect",
    "embed",
    "inspect_file",
    "marked",
    "read_credentials",
    "read_mark",
    "save_generated",
    "signed",
    "stamped",
]
