"""What the file of a generated picture says of its origin.

Two chunks of text in the PNG, before its pixels: one in JSON for this project's own tools, and an
XMP packet, which other programs read, by the IPTC Photo Metadata Standard 2025.1. There is no clock
in them: the same picture gives the same file. They are claims, which anyone can write or remove.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from .. import __version__
from ..pictures import png
from ..system.files import atomic_write_bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_KEY = "adb provenance"  # of the chunk in JSON
XMP_KEY = "XML:com.adobe.xmp"  # of any XMP packet in a PNG (XMP Specification, part 3)
FORMAT = 1
STATEMENT = "AI generated"
# https://cv.iptc.org/newscodes/digitalsourcetype: made by a model that was trained on samples, and
# a picture that such pictures are a part of, beside photos, maps or letters.
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{SOURCES}trainedAlgorithmicMedia"
COMPOSITE = f"{SOURCES}compositeWithTrainedAlgorithmicMedia"
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <Iptc4xmpExt:AISystemUsed>{system}</Iptc4xmpExt:AISystemUsed>
   <Iptc4xmpExt:AIPromptInformation>{prompts}</Iptc4xmpExt:AIPromptInformation>
   <xmp:CreatorTool>{software}</xmp:CreatorTool>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{about}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True)
class Provenance:
    """How the picture or pictures in a file were made; fields that nobody knows are left empty.

    Attributes:
        prompts: as they were asked for, the concept by its word; seeds: of the noise.
        base_model: name, hub id, or a folder's last name: no path of the machine is written.
        revision: the hub commit of the base model, if any. recipe: how it was personalized, "base"
            where it was not.
        steps, guidance: of sampling.
        composite: the picture shows generated pictures beside something else, as in a figure.
    """

    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    base_model: str | None = None
    revision: str | None = None
    recipe: str | None = None
    steps: int | None = None
    guidance: float | None = None
    composite: bool = False

    @property
    def source(self) -> str:
        """The IPTC's address for this kind of picture."""
        return COMPOSITE if self.composite else GENERATED

    def public(self) -> dict[str, Any]:
        """What the chunk in JSON says."""
        said = {
            "format": FORMAT,
            "statement": STATEMENT,
            "digital_source_type": self.source,
            "software": f"adb-core {__version__}",
            "base_model": self.base_model,
            "revision": self.revision,
            "recipe": self.recipe,
            "prompts": list(dict.fromkeys(self.prompts)),
            "seeds": list(dict.fromkeys(self.seeds)),
            "steps": self.steps,
            "guidance": self.guidance,
        }
        return {name: value for name, value in said.items() if value not in (None, [])}

    def xmp(self) -> str:
        """The XMP packet."""
        said = self.public()
        system = " ".join(filter(None, (self.base_model, self.revision, self.recipe)))
        about = f"{STATEMENT} by {said['software']}" + (f" with {system}" if system else "")
        return XMP.format(
            source=self.source,
            system=_xml(system or said["software"]),
            prompts=_xml("; ".join(said.get("prompts", ()))),
            software=_xml(said["software"]),
            about=_xml(about),
        )


Signing = Callable[[bytes, Provenance], bytes]
BLIND: Provenance = (
    Provenance()
)  # "AI generated", and not by whom: for a study whose raters must not know


def of_model(model: Any, prompts: Sequence[str], seeds: Sequence[int], **how: Any) -> Provenance:
    """The provenance of what a model draws.

    Args:
        model: anything that draws, as :class:`adb_core.seam.Drawable` says; prompts: with the
            concept by its word; how: further fields of :class:`Provenance`, as steps and guidance.
    """
    # A saved result is a folder of its own, and says in ``info`` which model it was trained from.
    info = getattr(model, "info", {})
    base = str(info.get("base", model.base.name))
    revision = info.get("revision", model.base.revision)
    return Provenance(
        tuple(prompts),
        tuple(map(int, seeds)),
        base_model=_without_path(base),
        revision=revision,
        recipe=model.recipe_name,
        **how,
    )


def _without_path(name: str) -> str:
    """A model's name; of a folder its last name alone, for its path says whose machine it was."""
    is_path = Path(name).is_absolute() or "\\" in name or name[:1] in ".~" or Path(name).exists()
    return re.split(r"[\\/]", name.rstrip("\\/"))[-1] if is_path else name


def _xml(text: str) -> str:
    """A text as XML can hold it: escaped, and without control characters."""
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))


# ---------------------------------------------------------------- into a file


def stamped(data: bytes, about: Provenance) -> bytes:
    """The bytes of a PNG with its provenance inside; an earlier one is replaced.

    The pixels are not touched.

    Raises:
        ValueError: the bytes are no PNG.
    """
    kept = [
        chunk
        for kind, body, chunk in chunks(data)
        if body.partition(b"\0")[0].decode("latin-1") not in (TEXT_KEY, XMP_KEY)
        or kind not in (b"tEXt", b"iTXt", b"zTXt")
    ]
    said = json.dumps(about.public())  # ASCII, whatever the prompts are written in
    # iTXt: keyword, not compressed, no language, no translated keyword, UTF-8
    new = [
        _chunk(b"tEXt", TEXT_KEY.encode() + b"\0" + said.encode()),
        _chunk(b"iTXt", XMP_KEY.encode() + b"\0\0\0\0\0" + about.xmp().encode()),
    ]
    return b"".join([SIGNATURE, kept[0], *new, *kept[1:]])  # the header comes first


def save_generated(
    path: str | Path,
    picture: np.ndarray | Image.Image,
    about: Provenance,
    sign: Signing | None = None,
) -> None:
    """Write a generated picture as PNG with its provenance, all or nothing.

    Every generated picture that this project writes comes through here or, where its bytes are
    there already, through :func:`stamped`.

    Args:
        sign: adds a signature last, as :func:`adb_core.provenance.credentials.signed` does.

    Raises:
        DiskFull: no space left; an earlier file is untouched.
    """
    data = stamped(png(picture), about)
    atomic_write_bytes(path, data if sign is None else sign(data, about))


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, content and all bytes of each chunk of a PNG.

    Raises:
        ValueError: it is no PNG, or ends early.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("only a PNG can carry provenance here: save the picture as PNG")
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if at + 12 > len(data) or end > len(data):
            raise ValueError("the PNG ends early: write it again")
        kind = data[at + 4 : at + 8]
        yield kind, data[at + 8 : end - 4], data[at:end]
        at = end


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + check
