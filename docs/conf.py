"""Settings of the web page. `minimistral/publish/site.py` calls Sphinx with them.

Everything a page needs is a file of the site, so nothing here names another machine.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # course.py

project = "minimistral"
language = "en"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "course",
]
exclude_patterns = ["README.md"]  # its first lines are in index.md

# The lessons have been run already; their interactive pictures need no Python.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
# site:../index.html leads from a translation to a page in English, which is another build's.
myst_url_schemes = {"http": None, "https": None, "site": "{{path}}"}

# In docstrings, `name` is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "minimistral"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = True
html_theme_options = {"top_of_page_buttons": [], "navigation_with_keys": False}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

# MathJax as one file that draws with SVG and loads no font. The build puts it there.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}
