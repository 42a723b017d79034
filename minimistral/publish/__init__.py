"""From the notebooks to what people see: saved outputs, figures, lectures and the web page."""
