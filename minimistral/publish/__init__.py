"""From the notebooks to what people see: saved outputs, figures, lectures and the web page.

`python -m minimistral.publish.NAME --help`, where NAME is notebooks, figures, slides or site.
"""
