"""The published workbook: `dvae site` builds pages from the stored notebooks.

build.py calls Sphinx; sources.py turns a stored notebook into what Sphinx reads; claims.py and
front.py write pages that no notebook is; live.py, networks.py and export.py make the widgets that
run without a kernel; npm.py fetches the two JavaScript libraries. static/ goes to the site as it
is.
"""
