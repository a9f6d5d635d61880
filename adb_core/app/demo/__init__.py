"""``adb demo``: the paper's experiment on one bundled concept, from its photos to a report.

All stages of a recipe run on the bundled tiny model. Under the output folder appear

    model/            the personalized model, a folder that plain diffusers loads
    stages.png        the concept's photos beside pictures of six prompts after each stage
    attention.png     where [V] looked while these pictures were made
    drift.png         how far [V] moved among the words
    curves.png        losses and attention statistics
    history.json      every step's record;  drift.json  the drift's numbers
    metrics.json      what was measured, and how long everything took
    report.html       one page with all of it
"""

FILES = (
    "stages.png",
    "attention.png",
    "drift.png",
    "curves.png",
    "history.json",
    "drift.json",
    "metrics.json",
    "report.html",
)
