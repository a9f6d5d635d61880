"""How Sphinx turns the stored notebooks into pages; ``tools/website.py`` lays out what it reads."""

import json
from pathlib import Path

from docutils import nodes

project = "AttnDreamBooth, step by step"
html_title = project
language = "en"
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]

# Nothing is executed: what a page shows is what the notebook stores.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # would load the widgets' scripts from elsewhere
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
# A model card may begin at the second level; `text` in a fence is no language.
suppress_warnings = ["myst.header"]

exclude_patterns = ["_extra"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_theme_options = {"top_of_page_buttons": []}


def describe_pictures(app, doctree) -> None:
    """Give a stored picture its alternative text, which myst-nb leaves out."""
    texts = json.loads((Path(app.srcdir) / "alternative-texts.json").read_text(encoding="utf-8"))
    for image in doctree.findall(nodes.image):
        if text := texts.get(Path(image["uri"]).stem):
            image["alt"] = text


def take_as_it_is(app, config) -> None:
    """Pictures that pages show by plain HTML lie in the site where they lie in the repository."""
    config.html_extra_path = [str(Path(app.srcdir) / "_extra")]


def setup(app) -> None:
    app.connect("config-inited", take_as_it_is)
    app.connect("doctree-read", describe_pictures)
