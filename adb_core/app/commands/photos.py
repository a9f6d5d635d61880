"""``adb crop-preview``: what training will see of photos, and what is odd about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from .. import options as o
from ..arguments import check_counts, check_file, check_seed, find_concept


def crop_preview(
    concept: o.ConceptName,
    crop: o.Crop = "random",
    side: o.Side = 512,
    views: o.Views = 4,
    seed: o.Seed = 0,
    people: o.People = False,
    detector: o.DetectorName = None,
    out: o.CropsFile = Path("out/crops.png"),
) -> None:
    """Show how photos are cut for training, and say what is odd about them.

    A row a photo: the photo with the square that is kept, that square as the model sees it, and, if
    the crop is random, further views as training draws them. Nothing is trained, and no photo is
    changed. With --people a detector (26 MB from the hub, once) says which photos show whom you
    have to ask.

    \b
      adb crop-preview --concept my_photos --crop subject
    """
    check_seed(seed)
    check_counts(views=views, side=side)
    check_file(out)
    from ...photos import CONSENT, crop_sheet, remarks, square
    from ...pictures import save_png

    photos = find_concept(concept, "thing", None)
    look = _looker(detector) if people or detector is not None else None
    masks = photos.masks or (None,) * len(photos.images)
    pairs = zip(photos.images, masks, strict=True)
    parts = [square(image.shape, crop, mask) for image, mask in pairs]
    kept = photos.cropped(crop).images
    cell = min(side, 256)  # pixels of a view in the sheet
    count = views if crop == "random" else 1  # what was cut once is the same in every view
    save_png(out, crop_sheet(photos.images, parts, kept, side=cell, count=count, seed=seed))
    for line in remarks(kept, photos.files, side):
        typer.echo(line)
    for line in look(photos.images, photos.files) if look else ():
        typer.echo(line)
    captions = sum(map(bool, photos.captions))
    typer.echo(f"{len(photos.images)} photos, {captions} with a caption of their own")
    typer.echo(CONSENT)
    typer.echo(f"picture: {out}")


def _looker(name: str | None) -> Callable[..., list[str]]:
    """The detector, loaded now; to be called with photos and their names for a line about each."""
    from ...people import DETECTOR, find_people, load_detector, people_remarks

    detector = load_detector(name or DETECTOR)
    return lambda images, names: people_remarks(find_people(images, detector), names)
