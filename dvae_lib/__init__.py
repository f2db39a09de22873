"""The helper library behind the workbook: what every notebook needs and no notebook is about.

Modules are imported by name (``from dvae_lib import workbook, nets``); importing the package
itself loads nothing.
"""

__version__ = "0.1.0"
