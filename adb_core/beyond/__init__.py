"""Beyond single still pictures: what a personalized model can be used for, without more training.

    states        prompts as text states, and pictures of states and noise that are given
    walks         from one prompt and seed to others;  frames  their files: GIF, WebP, MP4
    steadiness    what such frames keep, and how much they flicker
    cross_frame   frames that read the first one's self-attention
    boxes         parts of a picture;  layout  a word's subject is drawn inside one
    masks         where a subject is in a finished picture
    mixing        one word on its way to another
    avatars       one concept in many looks, and without its background
    keeping       liked pictures, with what it takes to draw them again
    motion        temporal attention on a U-Net of stills;  motion_files  its weights
    moves         clips of it, and where their subject goes

Importing this package is cheap: a name loads the file that defines it when it is first used.
"""

from importlib import import_module

_SUBMODULE_OF = {
    "draw_states": "states", "noise": "states", "text_states": "states",
    "Walk": "walks", "mixed": "walks", "slerp": "walks", "walk": "walks",
    "FrameError": "frames", "mp4": "frames", "save_frames": "frames", "webp": "frames",
    "Steadiness": "steadiness", "flicker": "steadiness",
    "measure_steadiness": "steadiness",
    "share_first_frame": "cross_frame", "first_of_each": "cross_frame",
    "Box": "boxes", "BoxError": "boxes", "outlined": "boxes", "share_inside": "boxes",
    "Placed": "layout", "Push": "layout", "place": "layout",
    "place_states": "layout", "word_column": "layout",
    "BoxScores": "masks", "box_scores": "masks", "map_mask": "masks", "mask_iou": "masks",
    "picture_maps": "masks",
    "mixed_states": "mixing", "Kept": "keeping",
    "Avatars": "avatars", "avatar_prompts": "avatars", "avatar_sheet": "avatars",
    "cutout": "avatars", "cutouts": "avatars",
    "Motion": "motion", "MotionError": "motion", "TemporalAttention": "motion",
    "moving": "motion",
    "load_motion": "motion_files", "save_motion": "motion_files",
    "Moved": "moves", "Track": "moves", "clip_noise": "moves", "move": "moves",
    "track": "moves", "track_masks": "moves",
}  # fmt: skip

__all__ = list(_SUBMODULE_OF)


def __getattr__(name: str):
    """Load a public name from its file at first use (PEP 562)."""
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_SUBMODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
